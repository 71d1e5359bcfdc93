"""The report of a certificate: one page for any browser, with a slider over the size of the perturbation."""

import base64
import html
import importlib.resources
import io
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import rounded_down, written_confidence, written_error
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap, select_rows
from captum_certified.storage import atomic_write
from captum_certified.visualization.images import ImageReading, displayable, is_in_unit_interval
from captum_certified.visualization.palette import FAINT, HEAT, STRONG
from captum_certified.visualization.panels import faded, heat_limit
from captum_certified.visualization.report_data import TopSet, check_exact, packed, radius_grid, top_sets

__all__ = ["report"]

_PAGE = "report.html"
_SIZES = (0.05, 0.1, 0.2, 0.3)


def report(
    certificate: TopKCertificate,
    path: str | os.PathLike[str],
    *,
    image: Tensor | NDArray[Any],
    example: int = 0,
    label: str | None = None,
    sizes: Sequence[float] = _SIZES,
) -> None:
    """Write a certificate as one HTML page that needs nothing else, not even a network.

    It shows the image, its maps, and over the faded image the top K: a slider over the radius fades every feature where
    its certificate ends, and a selector changes K. It says in plain words what is certified, and what is not. All
    numbers are computed here, by the certificate's bound at its confidence; the page only looks them up. It is
    usable by keyboard alone and follows the light or dark theme of the browser until told otherwise.

    Args:
        certificate: A certificate of images, about the exact map.
        path: File to write, whole or not at all.
        image: (N, C, H, W), (N, H, W, C) or (N, H, W), tensor or array, grey or RGB; without N for one example.
        example: Which example of the certificate, from 0.
        label: Title of the page.
        sizes: Sizes of the top set to choose from beside the certificate's own: counts, or fractions of the features.

    Raises:
        InvalidInputError: The certificate is of another kind or not of images, or an argument does not fit it.
        OSError: The file cannot be written.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from captum_certified import Certifier, SmoothedMap
        >>> from captum_certified.visualization import report
        >>> smoothed_map = SmoothedMap.from_counts(torch.randint(0, 500, (1, 1, 8, 8)), n_samples=500, stdevs=0.2)
        >>> certificate = Certifier().top_k(smoothed_map, k=0.2, radius=0.05)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> report(certificate, path, image=torch.rand(8, 8))
        >>> path.read_text()[:15]
        '<!DOCTYPE html>'
    """
    _check(certificate, example)
    reading = ImageReading(image, certificate.map.layout, len(certificate.map))
    smoothed_map = select_rows(certificate.map, torch.tensor([example], device="cpu"))
    picture = reading.images[example]
    sets = top_sets(certificate, smoothed_map, sizes)
    grid = radius_grid(sets, radius=certificate.radius, sigma=smoothed_map.sigma)
    data = _data(smoothed_map, sets, grid, picture)
    title = "A certified explanation" if label is None else label
    fields = {
        **{name: html.escape(text) for name, text in _words(certificate, smoothed_map, picture).items()},
        "title": html.escape(title),
        "summary": html.escape(certificate.summaries()[example]),
        "image": _png(displayable(picture)),
        "faded": _png(faded(picture)),
        "maps": _maps(smoothed_map, picture),
        "strong": STRONG,
        "faint": FAINT,
        "choices": _choices(sets, certificate.k, smoothed_map.layout.n_features),
        "last": str(len(grid) - 1),
        "start": str(grid.index(certificate.radius)),
        # "<" would let a text end the script.
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    with atomic_write(path) as file:
        file.write(_filled(fields).encode())


def _check(certificate: object, example: object) -> None:
    if not isinstance(certificate, TopKCertificate):
        raise InvalidInputError(f"Expected `certificate` to be a TopKCertificate, got {type(certificate).__name__}.")
    check_exact(certificate)
    if isinstance(example, bool) or not isinstance(example, int) or not 0 <= example < len(certificate.map):
        raise InvalidInputError(f"Expected `example` from 0 to {len(certificate.map) - 1}, got {example!r}.")


def _filled(fields: Mapping[str, str]) -> str:
    page = importlib.resources.files("captum_certified.visualization").joinpath(_PAGE).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], page)


def _data(
    smoothed_map: SmoothedMap,
    sets: Sequence[TopSet],
    grid: Sequence[float],
    picture: NDArray[Any],
) -> dict[str, Any]:
    """What the page looks up."""
    spread = math.sqrt(_values_of_input(smoothed_map, picture))
    return {
        "radii": [rounded_down(radius, digits=9) for radius in grid],
        "even": [_even(radius, spread) for radius in grid],
        "place": [round(radius / grid[-1], 5) for radius in grid],
        "colours": [[round(255 * part) for part in to_rgb(colour)] for colour in (STRONG, FAINT)],
        "sets": [_set_data(one, smoothed_map, grid, picture) for one in sets],
    }


def _values_of_input(smoothed_map: SmoothedMap, picture: NDArray[Any]) -> int:
    """In how many values a perturbation lies; of a map that does not say, at least as many as are seen of its input."""
    seen = max(math.prod(smoothed_map.layout.shapes[0]), math.prod(picture.shape))
    recorded = smoothed_map.setup.get("input_values")
    return recorded if isinstance(recorded, int) else seen


def _even(radius: float, spread: float) -> str:
    """Two digits of the largest change that is equal in every value and within the radius."""
    return "0" if radius == 0 else rounded_down(math.nextafter(radius / spread, math.inf), digits=2)


def _set_data(one: TopSet, smoothed_map: SmoothedMap, grid: Sequence[float], picture: NDArray[Any]) -> dict[str, Any]:
    reach = one.reach(grid)
    pixels = _on_pixels(torch.from_numpy(reach.astype(np.int64)), smoothed_map, picture).max(axis=2)
    overlap = one.overlap(smoothed_map, grid)
    return {
        "k": one.k,
        "overlap": overlap,
        "percent": [100 * count // one.k for count in overlap],  # rounded down: it is a guarantee
        "named": [int((reach >= index + 2).sum()) for index in range(len(grid))],
        "reach": packed(pixels),
    }


def _on_pixels(features: Tensor, smoothed_map: SmoothedMap, picture: NDArray[Any]) -> NDArray[Any]:
    """Features of shape (n,) as (H, W, C)."""
    return ImageReading(picture, smoothed_map.layout, 1).on_pixels(features[None])[0]  # type: ignore[no-any-return]


def _maps(smoothed_map: SmoothedMap, picture: NDArray[Any]) -> str:
    """The plain map, where it is known, and the smoothed one, as figures of the page."""
    method = html.escape(str(smoothed_map.setup.get("method", "map")))
    draws = int(smoothed_map.n_samples[0])
    maps = [(f"plain {method}", f"Heat map of the plain {method}", smoothed_map.plain)]
    maps += [(f"smoothed over {draws} noisy copies", "Heat map of the smoothed map", smoothed_map.features)]
    figures = []
    for caption, alternative, features in maps:
        if features is None:
            continue
        heat = _on_pixels(features[0], smoothed_map, picture).sum(axis=2).astype(np.float64)
        colours = matplotlib.colormaps[HEAT](np.clip(heat / heat_limit(heat), 0, 1))[..., :3]
        alt = f"{alternative}: dark blue where a pixel does not matter, yellow where it matters most."
        figures.append(f'<figure><img src="{_png(colours)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>')
    return "\n".join(figures)


def _png(image: NDArray[np.float64]) -> str:
    """An image of shape (H, W, 1 or 3) in [0, 1] as an address that holds it."""
    levels = np.round(255 * image).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _choices(sets: Sequence[TopSet], own: int, n: int) -> str:
    return "\n".join(
        f'<option value="{index}"{" selected" if one.k == own else ""}>the top {one.k} of {n} '
        f"({100 * one.k / n:.3g} %)</option>"
        for index, one in enumerate(sets)
    )


def _words(certificate: TopKCertificate, smoothed_map: SmoothedMap, picture: NDArray[Any]) -> dict[str, str]:
    """Parts of sentences that depend on the certificate."""
    height, width, _ = picture.shape
    noun, feature = _features_named(smoothed_map, picture)
    target = smoothed_map.setup.get("target")
    target = target[0] if isinstance(target, list) and len(target) == 1 else target
    confidence = written_confidence(certificate.confidence, percent=True)
    together = (
        f"All numbers of this page hold together with confidence {confidence} %."
        if certificate.violations == 0
        else f"For one size of the top set, all radii hold together with confidence {confidence} %; other sizes, and "
        "features by name, are statements of their own, each with this confidence."
    )
    return {
        "noun": noun,
        "feature": feature,
        "fixed": certificate.held_fixed,
        "answer": "" if target is None or target == "argmax" else f" (class {target})",
        "method": str(smoothed_map.setup.get("method", "an attribution method")),
        "values": str(_values_of_input(smoothed_map, picture)),
        "scale": ", of which 0 is black and 1 is white" if is_in_unit_interval(picture) else "",
        "error": f"{written_error(certificate.confidence)} %",
        "each": "" if certificate.violations == 0 else ", for each of these statements by itself",
        "confidence": f"{confidence} %",
        "together": together,
        "bound": certificate.bound,
        "draws": str(int(smoothed_map.n_samples[0])),
        "sigma": f"{smoothed_map.sigma:g}",
        "radius": rounded_down(certificate.radius),
        "k": str(certificate.k),
        "width": str(width),
        "height": str(height),
    }


def _features_named(smoothed_map: SmoothedMap, picture: NDArray[Any]) -> tuple[str, str]:
    """What a reader calls the features, and one of them."""
    height, width, _ = picture.shape
    if smoothed_map.layout.n_features == height * width:
        return "pixels", "one pixel"
    if smoothed_map.layout.group_ids is None:
        return "colour values", "one colour value of one pixel; a pixel is marked if one of its values is"
    return "regions", "one group of values of the picture"
