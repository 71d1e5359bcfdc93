"""The pictures and marks of a report as text: small enough that an ordinary page has less than a megabyte."""

import base64
import html
import io

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captum_certified.maps import SmoothedMap
from captum_certified.visualization.colours import HEAT
from captum_certified.visualization.image_layout import ImageReading, Pixels, displayable
from captum_certified.visualization.outlines import feature_edges
from captum_certified.visualization.panels import faded, heat_limit
from captum_certified.visualization.titles import method_named

__all__ = ["faded_picture", "heat_maps", "outlines", "packed", "picture_url"]

_WIDEST = 512  # pixels; wider pictures are made smaller, because a panel of the page has no more
_LARGE = 50_000  # bytes of a PNG from which a picture is written as a JPEG instead
_QUALITY = 85
_LONGEST_RUN = 255


def picture_url(picture: Pixels) -> str:
    """Return the picture, shape (H, W, C), as a data URL: a PNG, or a JPEG if the PNG is large."""
    levels = _levels(displayable(picture))
    image = _shrunk(Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]))
    png = _written(image, "PNG")
    return png if len(png) <= _LARGE else _written(image, "JPEG")


def faded_picture(picture: Pixels) -> str:
    """Return the faded picture that lies behind the marks as a data URL."""
    return _written(_shrunk(Image.fromarray(_levels(faded(picture))[..., 0])), "PNG")


def heat_maps(smoothed_map: SmoothedMap, reading: ImageReading) -> str:
    """Return HTML figures of the plain map, if it is known, and of the smoothed map."""
    method = html.escape(method_named(smoothed_map))
    draws = int(smoothed_map.n_samples[0])
    maps = [(f"plain {method}", f"Heat map of the plain {method}", smoothed_map.plain)]
    maps += [(f"smoothed over {draws} noisy copies", "Heat map of the smoothed map", smoothed_map.features)]
    figures = []
    for caption, alternative, features in maps:
        if features is None:
            continue
        heat = reading.on_pixels(features)[0].sum(axis=2).astype(np.float64)
        alt = f"{alternative}: dark blue where a pixel does not matter, yellow where it matters most."
        figures.append(f'<figure><img src="{_heat(heat)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>')
    return "\n".join(figures)


def outlines(reading: ImageReading) -> str:
    """Return an SVG of the outlines of cells or regions that are features, or an empty text."""
    lines = feature_edges(reading, 0)
    if not lines:
        return ""
    height, width, _ = reading.images[0].shape
    path = "".join(f"M{x0} {y0}{f'V{y1}' if x0 == x1 else f'H{x1}'}" for (x0, y0), (x1, y1) in lines)
    return f'<svg id="outlines" viewBox="0 0 {width} {height}" aria-hidden="true"><path d="{path}"/></svg>\n'


def packed(values: NDArray[np.uint8]) -> str:
    """Return values as text: base64 of pairs of bytes, a value and how many pixels in a row have it."""
    flat = values.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[:1] ^ 1))
    lengths = np.diff(starts, append=flat.size)
    # A byte holds at most 255, so a longer run is cut into several.
    pieces = -(-lengths // _LONGEST_RUN)
    counts = np.full(int(pieces.sum()), _LONGEST_RUN)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    pairs = np.stack([np.repeat(flat[starts], pieces), counts], axis=1).astype(np.uint8)
    return base64.b64encode(pairs.tobytes()).decode()


def _heat(heat: NDArray[np.float64]) -> str:
    """Return a heat map, shape (H, W), as the data URL of a PNG with a palette."""
    image = _shrunk(Image.fromarray(_levels(np.clip(heat / heat_limit(heat), 0, 1))))
    image.putpalette(_levels(matplotlib.colormaps[HEAT](np.arange(256))[:, :3]).tobytes())
    return _written(image, "PNG")


def _levels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.round(255 * values).astype(np.uint8)


def _shrunk(image: Image.Image) -> Image.Image:
    image.thumbnail((_WIDEST, _WIDEST))  # keeps the shape, and leaves smaller pictures as they are
    return image


def _written(image: Image.Image, form: str) -> str:
    file = io.BytesIO()
    image.save(file, format=form, optimize=True, quality=_QUALITY)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
