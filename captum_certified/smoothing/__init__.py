"""Noise, the loop over passes and blocks, mergeable statistics, and the smoothed map with its file."""

from captum_certified.smoothing.archive import atomic_write, read_archive, write_archive
from captum_certified.smoothing.collector import CovarianceRequest
from captum_certified.smoothing.comparison import difference_in_limits, same_behaviour
from captum_certified.smoothing.counts import resolved_count
from captum_certified.smoothing.covariance import CovarianceSummary
from captum_certified.smoothing.digest import digest
from captum_certified.smoothing.features import FeatureLayout, Groups
from captum_certified.smoothing.loop import Attributions, checked_magnitudes, smooth
from captum_certified.smoothing.map_file import fields_from_parts, parts_of_map
from captum_certified.smoothing.noise import NoiseLaw, derived_seed, fresh_seed, noise_pass, seeds_from_generator
from captum_certified.smoothing.passes import SamplingPlan, block_draws, noisy_inputs
from captum_certified.smoothing.provenance import setup_of_rows
from captum_certified.smoothing.regions import Regions, region_masks
from captum_certified.smoothing.rows import select_rows
from captum_certified.smoothing.smoothed_map import SmoothedMap
from captum_certified.smoothing.statistics import MapDraws, PerDrawMap
from captum_certified.smoothing.top_set import top_k_rows
from captum_certified.smoothing.untrusted import load_array, load_arrays, load_tensors
from captum_certified.smoothing.validation import checked_columns, checked_number, checked_samples, checked_stdev

__all__ = [
    "Attributions",
    "CovarianceRequest",
    "CovarianceSummary",
    "FeatureLayout",
    "Groups",
    "MapDraws",
    "NoiseLaw",
    "PerDrawMap",
    "Regions",
    "SamplingPlan",
    "SmoothedMap",
    "atomic_write",
    "block_draws",
    "checked_columns",
    "checked_magnitudes",
    "checked_number",
    "checked_samples",
    "checked_stdev",
    "derived_seed",
    "difference_in_limits",
    "digest",
    "fields_from_parts",
    "fresh_seed",
    "load_array",
    "load_arrays",
    "load_tensors",
    "noise_pass",
    "noisy_inputs",
    "parts_of_map",
    "read_archive",
    "region_masks",
    "resolved_count",
    "same_behaviour",
    "seeds_from_generator",
    "select_rows",
    "setup_of_rows",
    "smooth",
    "top_k_rows",
    "write_archive",
]
