"""Every numbered result as a function of numpy arrays in float64; no torch, no Captum."""

from captum_certified.theory.counting import fraction_to_count, top_k_mask
from captum_certified.theory.overlap import interval_ladder, overlap_from_ladder, theorem2_ladder
from captum_certified.theory.rank import definition_3_1_ranks, sharp_ranks
from captum_certified.theory.shift import (
    empirical_lower_bound,
    hoeffding_half_width,
    lower_bound,
    probit,
    shift,
)

__all__ = [
    "definition_3_1_ranks",
    "empirical_lower_bound",
    "fraction_to_count",
    "hoeffding_half_width",
    "interval_ladder",
    "lower_bound",
    "overlap_from_ladder",
    "probit",
    "sharp_ranks",
    "shift",
    "theorem2_ladder",
    "top_k_mask",
]
