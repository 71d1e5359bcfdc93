"""Certificates of robustness for Captum attributions.

How much of a saliency map provably survives every perturbation of a given L2 size?
"""

__version__ = "0.1.0"

from captum_certified.attr import ScaledSmoothGrad, SparsifiedSmoothGrad, sample_many
from captum_certified.certify import Certificate, Certifier, RankCertificate, TopKCertificate
from captum_certified.exceptions import (
    CaptumCertifiedError,
    CertificationError,
    FileFormatError,
    InvalidInputError,
)
from captum_certified.smoothing import CovarianceSummary, SmoothedMap

__all__ = [
    "CaptumCertifiedError",
    "Certificate",
    "CertificationError",
    "Certifier",
    "CovarianceSummary",
    "FileFormatError",
    "InvalidInputError",
    "RankCertificate",
    "ScaledSmoothGrad",
    "SmoothedMap",
    "SparsifiedSmoothGrad",
    "TopKCertificate",
    "__version__",
    "sample_many",
]
