"""The noise, the loop over passes and blocks, and the statistics of the draws.

A *draw* is one noisy copy of the input and the map computed from it. A *pass* is a group of draws that go through the
model together. A *block* is a group of draws whose covariance is computed together. A *row* is one example of the batch
or, in the tensors of a pass, one draw of one example.
"""

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
