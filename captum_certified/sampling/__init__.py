"""The noise, the loop over passes and blocks, and the statistics of the draws."""

from captum_certified.sampling.background_thread import JobRunner
from captum_certified.sampling.collector import CovarianceRequest
from captum_certified.sampling.loop import Attributions, checked_magnitudes, smooth
from captum_certified.sampling.noise import NoiseLaw, make_noise
from captum_certified.sampling.pass_size import PassSize
from captum_certified.sampling.plan import SamplingPlan, block_draws, noisy_inputs
from captum_certified.sampling.statistics import MapDraws, PerDrawMap
from captum_certified.sampling.top_k_mask import top_k_rows

__all__ = [
    "Attributions",
    "CovarianceRequest",
    "JobRunner",
    "MapDraws",
    "NoiseLaw",
    "PassSize",
    "PerDrawMap",
    "SamplingPlan",
    "block_draws",
    "checked_magnitudes",
    "make_noise",
    "noisy_inputs",
    "smooth",
    "top_k_rows",
]
