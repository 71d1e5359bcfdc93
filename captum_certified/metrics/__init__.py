"""Similarity of two maps, and the robustness of an explanation under a perturbation."""

from captum_certified.metrics.cosine import cosine_similarity
from captum_certified.metrics.lipschitz import local_lipschitz
from captum_certified.metrics.mass_center import mass_center_distance
from captum_certified.metrics.rank_correlation import kendall_tau, spearman_rank
from captum_certified.metrics.robustness import attribution_robustness
from captum_certified.metrics.top_k import top_k_intersection

__all__ = [
    "attribution_robustness",
    "cosine_similarity",
    "kendall_tau",
    "local_lipschitz",
    "mass_center_distance",
    "spearman_rank",
    "top_k_intersection",
]
