"""Image files as examples of a run, and the pictures that are written beside their results."""

import argparse
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from captum_certified._captum import as_tuple
from captum_certified.attr.memory import explained_memory_errors
from captum_certified.certify import TopKCertificate
from captum_certified.certify.reference import Reference
from captum_certified.cli.class_names import class_named, class_title, named
from captum_certified.cli.explainers import arguments_of, options_note
from captum_certified.cli.image_groups import groups_of, mask_file
from captum_certified.cli.methods import MethodChoice, choice_of
from captum_certified.cli.models import LoadedModel, placed
from captum_certified.exceptions import InvalidInputError
from captum_certified.images.everyday_units import radius_in_units
from captum_certified.images.framing import load_image_and_region, load_mask
from captum_certified.maps import FeatureLayout, Groups
from captum_certified.runs.examples import Example, Source
from captum_certified.storage import Json, atomic_write
from captum_certified.visualization import certificate_figure, report

__all__ = ["image_sources", "prediction_of", "reference_of", "settings_note", "write_pictures"]

_WHOLE = 0.5  # a mask marks a feature if it marks at least this fraction of the feature's entries


def image_sources(
    files: Sequence[tuple[Path, str]], loaded: LoadedModel, arguments: argparse.Namespace
) -> Iterator[Source]:
    """Yield examples that are read and classified only when they are needed.

    Args:
        files: Image files with their names.
        loaded: The model.
        arguments: ``target``, ``region``, ``reference``, ``groups``, ``channels``, ``exif``, ``device``, ``dtype``,
            ``denoiser``, ``method`` and its options.
    """
    for path, name in files:
        yield Source(name, functools.partial(_example, path, loaded, arguments), notes={"image": str(path)})


def _example(path: Path, loaded: LoadedModel, arguments: argparse.Namespace) -> Example:
    image, region = load_image_and_region(
        path, loaded.framing, arguments.region, channels=arguments.channels, exif=arguments.exif
    )
    inputs = placed(image, arguments)
    prediction = prediction_of(loaded.model, inputs, names=loaded.class_names)
    target = prediction if arguments.target == "predicted" else arguments.target
    groups = groups_of(arguments.groups, path, image, loaded, arguments)
    reference = reference_of(path, groups, loaded, arguments)
    mask = reference if isinstance(reference, Tensor) else None  # the reference "plain" is set for the whole run
    choice = choice_of(arguments.method)
    classes: dict[str, Json] = {"prediction": prediction, "explained": target}
    notes: dict[str, Json] = {"image": str(path), **classes, **named(classes, loaded.class_names)}
    return Example(
        inputs=inputs,
        target=target,
        region=None if region is None else _like_the_map(region, choice),
        reference=mask,
        groups=groups,
        arguments=arguments_of(choice, image, loaded, arguments, groups),
        notes=notes | settings_note(image, groups, choice, arguments),
    )


def settings_note(
    image: Tensor, groups: Groups, choice: MethodChoice, arguments: argparse.Namespace
) -> dict[str, Json]:
    """Return notes for the record of an image.

    The notes compare the radius with familiar changes of the image, and name settings that the record otherwise has
    only as digests.
    """
    notes: dict[str, Json] = {"everyday_units": _units_note(image, arguments.radius)}
    notes |= {} if arguments.denoiser is None else {"denoiser": arguments.denoiser}
    notes |= {"groups": arguments.groups} if isinstance(groups, Tensor) else {}
    return notes | options_note(choice, image, arguments)


def _like_the_map(image: Tensor, choice: MethodChoice) -> Tensor:
    """Return an image, or a mask of an image, with as many channels as the map of a method has."""
    return image[:, :1] if choice.upsampled else image


def _units_note(image: Tensor, radius: float) -> dict[str, Json]:
    """Return the radius in grey levels and the sizes of familiar changes of an image, for its record."""
    units = radius_in_units(radius, image)
    assert units.jpeg is not None  # noqa: S101  for the type checker: framed images are pictures
    assert units.shift is not None  # noqa: S101
    return {
        "grey_levels": units.grey_levels,
        "rounding": units.rounding,
        "jpeg": float(units.jpeg),
        "shift": float(units.shift),
    }


def reference_of(path: Path, groups: Groups, loaded: LoadedModel, arguments: argparse.Namespace) -> Reference:
    """Return the reference set that the command line names for an image.

    Args:
        path: The image file.
        groups: The groups of entries that form one feature.
        loaded: The model.
        arguments: ``reference``, ``channels``, ``exif``, ``method``.

    Returns:
        ``None``, ``"plain"``, or the features that a mask marks, bool, shape (1, n).

    Raises:
        InvalidInputError: The mask is missing, does not fit the image, or marks no feature.
        OSError: A file cannot be opened.
    """
    if arguments.reference in (None, "plain"):
        plain: Reference = arguments.reference
        return plain
    mask = load_mask(
        mask_file("--reference", Path(arguments.reference), path),
        loaded.framing,
        path,
        channels=arguments.channels,
        exif=arguments.exif,
    )
    like_map = _like_the_map(mask, choice_of(arguments.method))
    layout = FeatureLayout.of([like_map], is_tuple=False, rows=1, groups=groups)
    features = layout.group_means([like_map.double()]) >= _WHOLE
    if not bool(features.any()):
        raise InvalidInputError(
            f"Expected `--reference` {arguments.reference} to mark at least half of one feature, got none; smaller "
            "`--groups` have smaller features."
        )
    return features


def write_pictures(
    stem: Path,
    certificate: TopKCertificate,
    example: Example,
    new: bool,
    *,
    csv: bool,
    page: bool,
    names: Sequence[str] | None,
) -> None:
    """Write the figure of a certificate and, on request, its table of features and its report.

    Args:
        stem: The path of the files without a suffix.
        certificate: The certificate.
        example: The example of the certificate.
        new: Whether the certificate is new. If it was kept from an earlier run, existing files are kept too.
        csv: Whether to write the table. For a new certificate an existing table is replaced even if this is ``False``.
        page: Whether to write the report. For a new certificate an existing report is replaced even if this is
            ``False``.
        names: Names of the classes, if they are known.
    """
    [inputs] = as_tuple(example.inputs)
    image = inputs.float().cpu()
    picture, table, html = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "csv", "html"))

    def due(path: Path, *, wanted: bool) -> bool:
        return (wanted or _is_ours(path)) if new else (wanted and not path.exists())

    if due(picture, wanted=True):
        figure, _ = certificate_figure(certificate, image, labels=_labels(example, names))
        with atomic_write(picture) as file:
            figure.savefig(file, format="png", dpi=150)
    if due(table, wanted=csv):
        certificate.to_csv(table)
    if due(html, wanted=page):
        prediction = example.notes.get("prediction")
        report(
            certificate,
            html,
            image=image,
            label=_title(stem, example, names),
            class_names=names,
            predicted=prediction if isinstance(prediction, int) else None,
            stored=f"{stem.name}.json",
        )


def _labels(example: Example, names: Sequence[str] | None) -> list[str] | None:
    """Return the title of the image: the explained class, or with ``argmax`` the class predicted for the image."""
    explained, prediction = example.notes["explained"], example.notes["prediction"]
    number = explained if isinstance(explained, int) else prediction
    return [class_title(number, names)] if names is not None and isinstance(number, int) else None


def _title(stem: Path, example: Example, names: Sequence[str] | None) -> str:
    """Return the title of a report: the name of the image file, if it is known, and the explained class."""
    file, explained = example.notes.get("image"), example.notes["explained"]
    name = Path(file).name if isinstance(file, str) else stem.name
    return f"{name}: explanation of {class_named(explained, names)}" if isinstance(explained, int) else name


def _is_ours(path: Path) -> bool:
    """Return whether a table or a report exists and was written by this package."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        beginning = file.read(500)
    return beginning.startswith(b"example,feature,mean,") or b'content="captum_certified"' in beginning


def prediction_of(model: nn.Module, inputs: Tensor, *, names: Sequence[str] | None = None) -> int:
    """Return the class that a model predicts for one image.

    Raises:
        InvalidInputError: The model does not take the image, does not return a tensor of shape (1, classes), or has
            another number of classes than there are names.
        NotEnoughMemoryError: The image does not fit into memory.
    """
    try:
        with torch.no_grad(), explained_memory_errors((inputs,)):
            outputs = model(inputs)
    except (RuntimeError, ValueError, AssertionError) as error:  # exported models assert the sizes that they take
        _, channels, height, width = inputs.shape
        raise InvalidInputError(
            f"Expected a model that takes images of {height} × {width} pixels with {channels} channels; see `--size` "
            f"and `--channels`. It raised: {error}"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != 1:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InvalidInputError(f"Expected a model that returns a tensor of shape (N, classes), got {got}.")
    if names is not None and len(names) != outputs.shape[1]:
        raise InvalidInputError(
            f"Expected `--class-names` to have {outputs.shape[1]} names, one for each output of the model, got "
            f"{len(names)}."
        )
    return int(outputs.argmax())
