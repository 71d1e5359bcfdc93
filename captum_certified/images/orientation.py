"""Turn a stored picture upright by its EXIF orientation, and turn a box of its pixels in the same way."""

from torch import Tensor

__all__ = ["UPRIGHT", "Box", "turned", "turned_box"]

Box = tuple[float, float, float, float]

UPRIGHT = 1
# For each orientation, three steps in this order: whether to swap rows and columns, to reverse the rows, and to reverse
# the columns.
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
    """Return a box X0, Y0, X1, Y1 of a stored picture after turning it upright, and the new height and width."""
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
