"""The colours of all figures: cividis, viridis, and the palette of Okabe and Ito, which the colour-blind can read."""

__all__ = ["BESIDE", "BOUNDS", "CURVES", "FAINT", "HEAT", "LEFT", "NEW", "NOTHING", "OPEN", "STAYED", "STRONG"]

# Vermillion, orange and sky blue of Okabe and Ito: apart in lightness as well, so also in grey print.
STRONG = "#D55E00"  # what is certified
FAINT = "#E69F00"  # what is not, but is in the top K
OPEN = "#56B4E9"  # what is undecided
# Blue, reddish purple and yellow: what an attack did is not taken for what is certified.
STAYED = "#0072B2"
LEFT = "#CC79A7"
NEW = "#F0E442"
NOTHING = "#D9D9D9"  # where nothing is certified

HEAT = "cividis"
# Bluish green, blue, reddish purple and the colours above, the one for the certificate first.
CURVES = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000")
# A bound has the same colour in every figure, and what is beside a curve is grey.
_BOUNDS = ("spectral", "best", "clopper_pearson", "theorem2", "kl", "empirical_bernstein", "hoeffding")
BOUNDS = dict(zip(_BOUNDS, CURVES, strict=True))
BESIDE = "#999999"
