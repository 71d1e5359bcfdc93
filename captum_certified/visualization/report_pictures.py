"""The pictures and marks of a report as text: small enough that an ordinary page has less than a megabyte."""

import base64
import html
import io
import math

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from captum_certified.attr.fingerprint import input_digests
from captum_certified.maps import SmoothedMap
from captum_certified.sampling.noise import NOISE_VERSION
from captum_certified.sampling.plan import SamplingPlan, noisy_inputs
from captum_certified.visualization.colours import HEAT
from captum_certified.visualization.image_layout import ImageReading, Pixels, displayable
from captum_certified.visualization.outlines import feature_edges
from captum_certified.visualization.panels import faded, heat_limit
from captum_certified.visualization.titles import method_named

__all__ = ["faded_picture", "heat_maps", "line_widths", "noisy_copy", "outlines", "packed", "picture_url"]

_WIDEST = 512  # pixels; wider pictures are made smaller, because a panel of the page has no more
_WIDEST_COPY = 224  # pixels; noise is expensive to store
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


def noisy_copy(smoothed_map: SmoothedMap, picture: Pixels) -> str:
    """Return an HTML figure of the noisy copy of which the first draw of the map is.

    The text is empty unless the picture is the input, by its digest, and the noise can be made again: it came from the
    CPU, from a known seed, and from this version of the noise. Values beyond black and white are drawn black and white.
    """
    setup, draws, stdev = smoothed_map.setup, smoothed_map.draws, smoothed_map.stdevs
    inputs = torch.from_numpy(np.moveaxis(picture, 2, 0)[np.newaxis].copy())
    known = (setup.get("inputs"), setup.get("noise"), setup.get("noise_version"), setup.get("device"))
    again = known == (input_digests((inputs,)), "gaussian", NOISE_VERSION, "cpu")
    if not again or smoothed_map.seed is None or draws is None or not isinstance(stdev, float):
        return ""
    first = draws[0][0][0]
    plan = SamplingPlan(
        seed=smoothed_map.seed, first_draw=first, n_samples=1, pass_size=1, block=1, stdevs=(stdev,), law="gaussian"
    )
    [noisy] = noisy_inputs((inputs,), range(first, first + 1), plan)
    levels = _levels(np.moveaxis(noisy[0].clamp(0, 1).double().numpy(), 0, 2))
    image = Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0])
    # Pixels are left out instead of averaged, because a mean of pixels has less noise.
    scale = min(1.0, _WIDEST_COPY / max(image.size))
    image = image.resize((round(scale * image.width) or 1, round(scale * image.height) or 1), Image.Resampling.NEAREST)
    png = _written(image, "PNG")
    url = png if len(png) <= _LARGE else _written(image, "JPEG")
    alt = f"Copy {first} of the picture, with random noise."
    return f'<figure><img src="{url}" alt="{alt}"><figcaption>one of the noisy copies</figcaption></figure>'


def heat_maps(smoothed_map: SmoothedMap, reading: ImageReading) -> str:
    """Return HTML figures of the plain map, if it is known, and of the smoothed map."""
    method = html.escape(method_named(smoothed_map))
    draws = int(smoothed_map.n_samples[0])
    of_picture = f"the plain map: {method} of the picture" if "method" in smoothed_map.setup else "the plain map"
    maps = [(of_picture, f"Heat map of the plain {method}", smoothed_map.plain)]
    maps += [(f"the smoothed map: mean of {draws} noisy copies", "Heat map of the smoothed map", smoothed_map.features)]
    figures = []
    for caption, alternative, features in maps:
        if features is None:
            continue
        heat = reading.on_pixels(features)[0].sum(axis=2).astype(np.float64)
        alt = f"{alternative}: dark blue where a pixel does not matter, yellow where it matters most."
        figures.append(f'<figure><img src="{_heat(heat)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>')
    return "\n".join(figures)


def line_widths(reading: ImageReading) -> dict[str, str]:
    """Return the widths of the lines around the marked features by name, in pixels of the picture."""
    height, width, _ = reading.images[0].shape
    # Lines around small features are thin. Otherwise they would cover the picture.
    widest = min(max(height, width) / 110, math.sqrt(max(height * width / reading.n_features, 1)) / 5)
    return {"strong_width": f"{widest:.3g}", "faint_width": f"{0.7 * widest:.3g}", "edge_width": f"{1.8 * widest:.3g}"}


def outlines(reading: ImageReading) -> str:
    """Return an SVG of the outlines of cells or regions that are features, or an empty text."""
    lines = feature_edges(reading, 0)
    if not lines:
        return ""
    height, width, _ = reading.images[0].shape
    path = "".join(f"M{x0} {y0}{f'V{y1}' if x0 == x1 else f'H{x1}'}" for (x0, y0), (x1, y1) in lines)
    return f'<svg id="outlines" viewBox="0 0 {width} {height}" aria-hidden="true"><path id="cells" d="{path}"/></svg>\n'


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
