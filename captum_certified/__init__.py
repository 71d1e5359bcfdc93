"""Certificates of robustness for Captum attributions.

The package tells how much of a smoothed saliency map provably survives every L2 perturbation within a radius, and with
what confidence.
"""

__version__ = "0.1.0"

from captum_certified.attr import (
    NormalizedSmoothGrad,
    RelaxedSparsifiedSmoothGrad,
    ScaledQuadraticSmoothGrad,
    ScaledSmoothGrad,
    Shared,
    SmoothedAttribution,
    SparsifiedSmoothGrad,
    UniformGradient,
    Upsampled,
    sample_many,
)
from captum_certified.certify import (
    Certificate,
    Certifier,
    DistanceCertificate,
    RankCertificate,
    RegionCertificate,
    SelectionCertificate,
    TopKCertificate,
)
from captum_certified.certify.pilot import Pilot, PilotRow, pilot
from captum_certified.exceptions import (
    CaptumCertifiedError,
    CertificationError,
    FileFormatError,
    InvalidInputError,
    NotEnoughMemoryError,
)
from captum_certified.images.everyday_units import EverydayUnits, radius_in_units
from captum_certified.images.superpixels import superpixels
from captum_certified.maps import CovarianceSummary, SmoothedMap
from captum_certified.metrics import (
    attribution_robustness,
    cosine_similarity,
    kendall_tau,
    local_lipschitz,
    mass_center_distance,
    spearman_rank,
    top_k_intersection,
)
from captum_certified.robust import AttackResult, GhorbaniAttack, InterpretationAttack

__all__ = [
    "AttackResult",
    "CaptumCertifiedError",
    "Certificate",
    "CertificationError",
    "Certifier",
    "CovarianceSummary",
    "DistanceCertificate",
    "EverydayUnits",
    "FileFormatError",
    "GhorbaniAttack",
    "InterpretationAttack",
    "InvalidInputError",
    "NormalizedSmoothGrad",
    "NotEnoughMemoryError",
    "Pilot",
    "PilotRow",
    "RankCertificate",
    "RegionCertificate",
    "RelaxedSparsifiedSmoothGrad",
    "ScaledQuadraticSmoothGrad",
    "ScaledSmoothGrad",
    "SelectionCertificate",
    "Shared",
    "SmoothedAttribution",
    "SmoothedMap",
    "SparsifiedSmoothGrad",
    "TopKCertificate",
    "UniformGradient",
    "Upsampled",
    "__version__",
    "attribution_robustness",
    "cosine_similarity",
    "kendall_tau",
    "local_lipschitz",
    "mass_center_distance",
    "pilot",
    "radius_in_units",
    "sample_many",
    "spearman_rank",
    "superpixels",
    "top_k_intersection",
]
