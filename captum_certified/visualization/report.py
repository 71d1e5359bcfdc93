"""The report of a certificate: one page for any browser, with a slider over the radius of the perturbation."""

import html
import importlib.resources
import json
import os
import re
from collections.abc import Mapping, Sequence

import torch
from matplotlib.colors import to_rgb

from captum_certified.certify import TopKCertificate
from captum_certified.certify.written_numbers import ceiled_percent, rounded_down
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import SmoothedMap, select_rows
from captum_certified.storage import JsonObject, atomic_write
from captum_certified.visualization.certified_features import check_exact
from captum_certified.visualization.colours import FAINT, NOTHING, STRONG
from captum_certified.visualization.feature_names import noun
from captum_certified.visualization.image_layout import ImageReading, Values
from captum_certified.visualization.report_changes import (
    FamiliarChange,
    axis,
    axis_height,
    concentrated,
    coverage,
    familiar_changes,
)
from captum_certified.visualization.report_data import TopSet, radius_grid, top_sets
from captum_certified.visualization.report_details import details
from captum_certified.visualization.report_pictures import (
    faded_picture,
    heat_maps,
    line_widths,
    noisy_copy,
    outlines,
    packed,
    picture_url,
)
from captum_certified.visualization.report_words import others_reach, subject, units, words

__all__ = ["report"]

_PAGE = "report.html"
_SIZES = (0.05, 0.1, 0.2, 0.3)
_PLAIN = "What it shows for this picture is the <em>plain map</em>. "
_ABOUT_PLAIN = " About the plain map one thing is proved: how much of what it marks at this picture is in that top set."


def report(
    certificate: TopKCertificate,
    path: str | os.PathLike[str],
    *,
    image: Values,
    example: int = 0,
    label: str | None = None,
    sizes: Sequence[float] = _SIZES,
    class_names: Sequence[str] | None = None,
    predicted: int | None = None,
    stored: str | None = None,
) -> None:
    """Write a certificate as one HTML page that loads nothing from the network.

    The page shows outlines of the top K on the image, and beside them a warning that the marks are no finding. A slider
    sets the radius. A feature turns pale at radii beyond the one up to which it is certified. A selector changes K.
    Plain words explain the maps, and say how much is certified of the smoothed map's own top K and of the plain map's
    top K, and what is not certified. They also say how much of the plain map's top K is reached by chance, by
    brightness and by random weights. The page shows cautions, and says which familiar changes of the picture the radius
    covers. All numbers are computed beforehand with the bound and the confidence of the certificate; the page only
    looks them up. It states settings, seed, digests, versions and the command that verifies the certificate. The page
    can be used by keyboard alone, on a phone, and printed. It follows the light or dark theme of the browser until the
    reader chooses a theme. Large pictures are made smaller, so that an ordinary page has less than a megabyte.

    If the certificate is about another reference set, the page is about this set and offers the certificate's K only.

    Args:
        certificate: A certificate of top-K overlap about the exact map, for maps of images.
        path: File to write, whole or not at all.
        image: Grey or RGB images, tensor or array of shape (N, C, H, W), (N, H, W, C) or (N, H, W). One example may be
            given without N.
        example: Number of the example in the certificate, from 0.
        label: Title of the page.
        sizes: Sizes of the top set that the reader can choose besides the certificate's own: counts, or fractions of
            the features. Ignored if the certificate is about another reference set.
        class_names: Names of the classes, in the order of the model's outputs, of which the page shows the explained
            and the predicted one.
        predicted: The class that the model predicts for the picture. The page says that this is the program's answer.
        stored: Name of a file that holds the certificate, for the command that verifies it.

    Raises:
        InvalidInputError: The certificate is of another kind or not for maps of images, or an argument does not fit it.
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
    reading = ImageReading(image, certificate.map.layout, len(certificate.map)).of_row(example)
    smoothed_map = select_rows(certificate.map, torch.tensor([example], device="cpu"))
    [picture] = reading.images
    sets = top_sets(certificate, smoothed_map, sizes)
    grid = radius_grid(sets, radius=certificate.radius, sigma=smoothed_map.sigma)
    changes = familiar_changes(smoothed_map, picture)
    data = _data(certificate, smoothed_map, sets, grid, reading, changes)
    title = "A certified explanation" if label is None else label
    texts = words(certificate, smoothed_map, picture, class_names, predicted)
    [shown] = (one for one in sets if one.k == certificate.k)
    fields = {
        **{name: html.escape(text) for name, text in texts.items()},
        "title": html.escape(title),
        "summary": html.escape(certificate.summaries()[example]),
        "image": picture_url(picture),
        "faded": faded_picture(picture),
        "noisy": noisy_copy(smoothed_map, picture),
        **line_widths(reading),
        "axis": axis(grid[-1], changes),
        "svg_height": str(axis_height(grid[-1], changes) + 46),
        "maps": heat_maps(smoothed_map, reading),
        "plain": "" if smoothed_map.plain is None else _PLAIN,
        "about_plain": _ABOUT_PLAIN if any(one.of_plain or one.reference == "plain" for one in sets) else "",
        "cautions": _cautions(certificate.cautions(example)),
        "details": details(certificate, smoothed_map, shown, texts, example=example, stored=stored),
        "strong": STRONG,
        "faint": FAINT,
        "nothing": NOTHING,
        "choices": _choices(sets, certificate.k, smoothed_map.layout.n_features, reading.features),
        "outlines": outlines(reading),
        "last": str(len(grid) - 1),
        "start": str(grid.index(certificate.radius)),
        # A text with "</script>" would end the script.
        "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    with atomic_write(path) as file:
        file.write(_filled(fields).encode())


def _check(certificate: TopKCertificate, example: int) -> None:
    if not isinstance(certificate, TopKCertificate):
        raise InvalidInputError(f"Expected `certificate` to be a TopKCertificate, got {type(certificate).__name__}.")
    check_exact(certificate)
    if isinstance(example, bool) or not isinstance(example, int) or not 0 <= example < len(certificate.map):
        raise InvalidInputError(f"Expected `example` from 0 to {len(certificate.map) - 1}, got {example!r}.")


def _filled(fields: Mapping[str, str]) -> str:
    page = importlib.resources.files("captum_certified.visualization").joinpath(_PAGE).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], page)


def _data(
    certificate: TopKCertificate,
    smoothed_map: SmoothedMap,
    sets: Sequence[TopSet],
    grid: Sequence[float],
    reading: ImageReading,
    changes: Sequence[FamiliarChange],
) -> JsonObject:
    """Return the numbers that the page looks up."""
    [picture] = reading.images
    features = noun(smoothed_map.layout, picture[..., 0].size)
    even, levels = zip(*(units(radius, smoothed_map, picture) for radius in grid), strict=True)
    texts = list(dict.fromkeys(coverage(changes, radius) for radius in grid))  # few differ
    return {
        "radii": [rounded_down(radius, digits=9) for radius in grid],
        "even": list(even),
        "levels": list(levels),
        "single": [concentrated(radius, smoothed_map, picture) for radius in grid],
        "coverage": texts,
        "covered": [texts.index(coverage(changes, radius)) for radius in grid],
        "verb": "stay" if certificate.reference == "own" else "are",
        "place": [round(radius / grid[-1], 5) for radius in grid],
        "colours": [[round(255 * part) for part in to_rgb(colour)] for colour in (STRONG, FAINT, NOTHING)],
        "sets": [
            {
                "subject": subject(one, certificate.reference, features),
                "plain": _plain_data(one, smoothed_map, grid),
                "others": others_reach(one, features),
                **_set_data(one, smoothed_map, grid, reading),
            }
            for one in sets
        ],
    }


def _set_data(one: TopSet, smoothed_map: SmoothedMap, grid: Sequence[float], reading: ImageReading) -> JsonObject:
    reach = one.reach(grid)
    pixels = reading.on_pixels(torch.from_numpy(reach)[None])[0].max(axis=2)
    overlap = one.overlap(smoothed_map, grid)
    return {
        "k": one.k,
        "most": one.most,
        "larger": int(one.top.sum()) > one.most,
        "overlap": overlap,
        "percent": _percent(overlap, one.most),
        "named": [int((reach >= index + 2).sum()) for index in range(len(grid))],
        "reach": packed(pixels),
    }


def _plain_data(one: TopSet, smoothed_map: SmoothedMap, grid: Sequence[float]) -> JsonObject | None:
    """Return the certified overlaps of the plain map's top set, or ``None`` if it has no certificate."""
    if one.of_plain is None:
        return None
    size, overlap = int(one.of_plain.reference_size), one.plain_overlap(smoothed_map, grid)
    return {
        "most": size,
        "overlap": overlap,
        "percent": _percent(overlap, size),
    }


def _percent(overlap: Sequence[int], most: int) -> list[int]:
    return [100 * count // most for count in overlap]  # rounded down, because it is a guarantee


def _cautions(sentences: Sequence[str]) -> str:
    """Return an HTML box with the cautions, or an empty text if there are no cautions."""
    if not sentences:
        return ""
    entries = "".join(f"<li>{html.escape(f'{sentence[0].upper()}{sentence[1:]}')}.</li>" for sentence in sentences)
    heading = "Caution: this certificate may mean little."
    return f'<aside class="caution"><strong>{heading}</strong><ul>{entries}</ul></aside>'


def _choices(sets: Sequence[TopSet], own: int, n: int, features: str) -> str:
    return "\n".join(
        f'<option value="{index}"{" selected" if one.k == own else ""}>the top {one.k} of {features} '
        f"({ceiled_percent(one.k / n)} %)</option>"
        for index, one in enumerate(sets)
    )
