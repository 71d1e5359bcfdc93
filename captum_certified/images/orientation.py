"""EXIF orientations: how to turn a stored picture upright, and a box of its pixels with it."""

from torch import Tensor

__all__ = ["UPRIGHT", "Box", "turned", "turned_box"]

Box = tuple[float, float, float, float]

UPRIGHT = 1
# Whether rows and columns are swapped, and whether rows and columns are reversed after that.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turned(pixels: Tensor, orientation: int) -> Tensor:
    """Turn pixels of shape (…, height, width) upright."""
    transposed, rows, columns = _TURNS[orientation]
    pixels = pixels.mT if transposed else pixels
    return pixels.flip([axis for axis, reverse in ((-2, rows), (-1, columns)) if reverse])


def turned_box(box: Box, size: tuple[int, int], orientation: int) -> tuple[Box, tuple[int, int]]:
    """Turn a box X0, Y0, X1, Y1 of a stored picture upright, and the picture's height and width with it."""
    transposed, rows, columns = _TURNS[orientation]
    x0, y0, x1, y1 = box
    height, width = size
    if transposed:
        x0, y0, x1, y1, height, width = y0, x0, y1, x1, width, height
    if rows:
        y0, y1 = height - y1, height - y0
    if columns:
        x0, x1 = width - x1, width - x0
    return (x0, y0, x1, y1), (height, width)
