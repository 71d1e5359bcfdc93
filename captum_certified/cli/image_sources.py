"""Image files as examples of a run, and the pictures that go beside their results."""

import argparse
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_certified.attr.memory import is_out_of_memory
from captum_certified.certify import TopKCertificate
from captum_certified.cli.models import LoadedModel
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.framing import load_image_and_region
from captum_certified.runs.examples import Example, Source
from captum_certified.storage import atomic_write
from captum_certified.visualization import certificate_figure, report

__all__ = ["image_sources", "prediction_of", "write_pictures"]


def image_sources(
    files: Sequence[tuple[Path, str]], loaded: LoadedModel, arguments: argparse.Namespace
) -> Iterator[Source]:
    """Examples that are read, and classified, when their turn comes.

    Args:
        files: Image files with their names.
        loaded: The model.
        arguments: ``target``, ``region``, ``channels``, ``exif``, ``device``, ``dtype``.
    """
    for path, name in files:
        yield Source(name, functools.partial(_example, path, loaded, arguments), notes={"image": str(path)})


def _example(path: Path, loaded: LoadedModel, arguments: argparse.Namespace) -> Example:
    image, region = load_image_and_region(
        path, loaded.framing, arguments.region, channels=arguments.channels, exif=arguments.exif
    )
    inputs = image.to(arguments.device, getattr(torch, arguments.dtype))
    prediction = prediction_of(loaded.model, inputs)
    return Example(
        inputs=inputs,
        target=prediction if arguments.target == "predicted" else arguments.target,
        region=region,
        notes={
            "prediction": prediction,
            "explained": prediction if arguments.target == "predicted" else arguments.target,
        },
    )


def write_pictures(
    stem: Path, certificate: TopKCertificate, example: Example, new: bool, *, csv: bool, page: bool
) -> None:
    """Write the figure of a certificate, and perhaps its table of features and its report.

    Args:
        stem: The files' path without a suffix.
        certificate: The certificate.
        example: What it is about.
        new: Whether it is; of one that was kept, files that exist are kept as well.
        csv: Whether to write the table; an earlier one is brought up to date in any case.
        page: Whether to write the report; as for the table.
    """
    assert isinstance(example.inputs, Tensor)  # noqa: S101  for the type checker: images are no tuples
    image = example.inputs.float().cpu()
    picture, table, html = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "csv", "html"))

    def due(path: Path, *, wanted: bool) -> bool:
        return (wanted or _is_ours(path)) if new else (wanted and not path.exists())

    if due(picture, wanted=True):
        figure, _ = certificate_figure(certificate, image)
        with atomic_write(picture) as file:
            figure.savefig(file, format="png", dpi=150)
    if due(table, wanted=csv):
        certificate.to_csv(table)
    if due(html, wanted=page):
        report(certificate, html, image=image, label=stem.name)


def _is_ours(path: Path) -> bool:
    """Whether a table or a report is there and was written by this package; its neighbours may be anybody's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(500)
    return beginning.startswith(b"example,feature,mean,") or b'content="captum_certified"' in beginning


def prediction_of(model: Any, inputs: Any) -> int:
    """The class that a model predicts for one image."""
    try:
        with torch.no_grad():
            outputs = model(inputs)
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        _, channels, height, width = inputs.shape
        raise InvalidInputError(
            f"Expected a model that takes images of {height} × {width} pixels with {channels} channels; see `--size` "
            f"and `--channels`. It raised: {error}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != 1:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InvalidInputError(f"Expected a model that returns a tensor of shape (N, classes), got {got}.")
    return int(outputs.argmax())
