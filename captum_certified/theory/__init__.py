"""The theorems of the paper and of this package as functions of NumPy arrays in float64, without PyTorch and Captum.

The docstrings share this notation:

- x is the observed input, x̃ any input with ‖x̃ − x‖ ≤ ρ, σ the standard deviation of the noise, and r = ρ/σ.
- f is the map of one draw, that is of one noisy copy of the input. Its values are in [0, 1]. h is the mean of f over
  the noise (the population scores). ĥ is the mean of f over q draws (the empirical scores), and ĥ_[i] is the i-th
  largest entry of ĥ.
- lo and hi are the ends of the confidence interval of a score at x. By Lemma 1, the score at every x̃ is at least
  a = Φ(Φ⁻¹(lo) − r) and at most b = Φ(Φ⁻¹(hi) + r).
- The level α is the probability that a statement may fail.
- Arrays of shape (N, n) hold n features of each of N examples.
"""

from captum_certified.theory.center_smoothing import CenterSmoothing, center_smoothing, set_distances
from captum_certified.theory.counting import fraction_to_count, top_k_mask
from captum_certified.theory.displacement import (
    Displacement,
    chi,
    frobenius_upper,
    full_displacement,
    partial_sums_upper,
    short_displacement,
    top_eigenvalue_upper,
)
from captum_certified.theory.exchange import exchange_costs, spectral_overlap, spectral_ranks, staying_costs
from captum_certified.theory.fewest import fewest_draws, fewest_draws_spectral
from captum_certified.theory.intervals import (
    clopper_pearson_interval,
    empirical_bernstein_interval,
    hoeffding_interval,
    kl_interval,
    kl_upper,
)
from captum_certified.theory.lecuyer import lecuyer_bounds, lecuyer_overlap
from captum_certified.theory.overlap import (
    interval_ladder,
    overlap_from_bounds,
    overlap_from_ladder,
    ratio_from_ladder,
    theorem2_ladder,
)
from captum_certified.theory.rank import (
    definition_3_1_ranks,
    ranks_from_bounds,
    sharp_ranks,
    theorem3_rank,
    top_k_ratios,
)
from captum_certified.theory.reference_sets import (
    chance_overlap,
    reference_costs,
    reference_floor,
    reference_ladder,
    reference_overlap_from_bounds,
    reference_overlap_from_ladder,
    reference_ratio_from_ladder,
    spectral_reference_overlap,
)
from captum_certified.theory.region import dkw_half_width, region_mass, region_mass_bounds
from captum_certified.theory.selection import class_ratio, selection, selection_ratios
from captum_certified.theory.sequential import look_level, look_sizes
from captum_certified.theory.shift import (
    empirical_lower_bound,
    hoeffding_half_width,
    lower_bound,
    probit,
    release_bounds,
    shift,
)

__all__ = [
    "CenterSmoothing",
    "Displacement",
    "center_smoothing",
    "chance_overlap",
    "chi",
    "class_ratio",
    "clopper_pearson_interval",
    "definition_3_1_ranks",
    "dkw_half_width",
    "empirical_bernstein_interval",
    "empirical_lower_bound",
    "exchange_costs",
    "fewest_draws",
    "fewest_draws_spectral",
    "fraction_to_count",
    "frobenius_upper",
    "full_displacement",
    "hoeffding_half_width",
    "hoeffding_interval",
    "interval_ladder",
    "kl_interval",
    "kl_upper",
    "lecuyer_bounds",
    "lecuyer_overlap",
    "look_level",
    "look_sizes",
    "lower_bound",
    "overlap_from_bounds",
    "overlap_from_ladder",
    "partial_sums_upper",
    "probit",
    "ranks_from_bounds",
    "ratio_from_ladder",
    "reference_costs",
    "reference_floor",
    "reference_ladder",
    "reference_overlap_from_bounds",
    "reference_overlap_from_ladder",
    "reference_ratio_from_ladder",
    "region_mass",
    "region_mass_bounds",
    "release_bounds",
    "selection",
    "selection_ratios",
    "set_distances",
    "sharp_ranks",
    "shift",
    "short_displacement",
    "spectral_overlap",
    "spectral_ranks",
    "spectral_reference_overlap",
    "staying_costs",
    "theorem2_ladder",
    "theorem3_rank",
    "top_eigenvalue_upper",
    "top_k_mask",
    "top_k_ratios",
]
