"""The colours of all figures. A colour has one meaning in every figure, the report and the experiments.

``tests/visualization/test_colours.py`` measures that colours which are used together differ for readers with
deuteranopia, the most frequent deficiency of colour vision.
"""

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

__all__ = [
    "ATTACKED",
    "BESIDE",
    "BOUNDS",
    "FAINT",
    "HEAT",
    "KINDS",
    "LEFT",
    "MARKERS",
    "NEW",
    "NOTHING",
    "OUTSIDE",
    "STRONG",
    "ordered",
]

# What is certified: vermilion for features that are certified individually, pale orange for features of the set that
# only count together. Grey with hatches means that nothing is certified; pale grey, that a feature is not in the set.
STRONG = "#D55E00"
FAINT = "#FDC97C"
NOTHING = "#BDBDBD"
OUTSIDE = "#E6E6E6"

# What an attack leaves, in marks, points and curves. The other two mark features that leave and enter the top K.
ATTACKED = "#0072B2"
LEFT = "#CC79A7"
NEW = "#F0E442"

# Lines and bars that a figure adds for comparison.
BESIDE = "#999999"

# Every bound has its colour in all figures. The bound that is used unless another one is chosen has the colour of what
# is certified.
BOUNDS = {
    "best": STRONG,
    "spectral": "#5FA052",
    "clopper_pearson": "#56B4E9",
    "theorem2": "#000000",
    "kl": "#332288",
    "empirical_bernstein": "#785EF0",
    "hoeffding": "#225522",
}

# Kinds of maps, trainings and methods that an experiment compares. Figures give them different markers as well.
KINDS = ("#4B0055", "#AA4499", "#C3A5E0", "#8C7A2E", "#3B9C8C")
MARKERS = ("o", "s", "^", "D", "v")

# Heat maps.
HEAT = "cividis"

# The part of a colour map that shows ordered values. Paler lines would vanish on white.
_ORDERED = "viridis_r"
_PALEST, _DARKEST = 0.25, 0.95


def ordered(count: int) -> list[str]:
    """Return colours for increasing numbers, such as σ or the radius: the larger the number, the darker the colour."""
    positions = np.linspace(_PALEST, _DARKEST, count)
    return [to_hex(colour) for colour in matplotlib.colormaps[_ORDERED](positions)]
