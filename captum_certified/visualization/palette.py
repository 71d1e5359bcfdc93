"""The colours of all figures: cividis, viridis, and the palette of Okabe and Ito, which the colour-blind can read."""

__all__ = ["CURVES", "FAINT", "HEAT", "NEW", "NOTHING", "OPEN", "STRONG"]

# Vermillion, orange and sky blue of Okabe and Ito: apart in lightness as well, so also in grey print.
STRONG = "#D55E00"  # what is certified
FAINT = "#E69F00"  # what is not, but is in the top K
NEW = "#56B4E9"  # what was not there before
OPEN = "#56B4E9"  # what is undecided; never in one figure with NEW
NOTHING = "#D9D9D9"  # where nothing is certified

HEAT = "cividis"
# Bluish green, blue, reddish purple and the colours above, the one for the certificate first.
CURVES = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
