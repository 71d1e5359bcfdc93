"""Similarity of two maps, and the robustness of an explanation under a perturbation."""

from captum_certified.metrics.distances import local_lipschitz, mass_center_distance
from captum_certified.metrics.quantus_adapter import quantus_explain_func
from captum_certified.metrics.robustness import attribution_robustness
from captum_certified.metrics.similarities import cosine_similarity, kendall_tau, spearman_rank, top_k_intersection

__all__ = [
    "attribution_robustness",
    "cosine_similarity",
    "kendall_tau",
    "local_lipschitz",
    "mass_center_distance",
    "quantus_explain_func",
    "spearman_rank",
    "top_k_intersection",
]
