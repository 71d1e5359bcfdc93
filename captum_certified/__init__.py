"""Certificates of robustness for Captum attributions.

The package proves, at a given confidence, how much of a smoothed saliency map survives every L2 perturbation within a
radius.
"""

__version__ = "0.1.0"

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from captum_certified.robust import (
        AttackResult,
        BlackBoxAttack,
        FastGradientAttack,
        GhorbaniAttack,
        InterpretationAttack,
    )

__all__ = [
    "AttackResult",
    "BlackBoxAttack",
    "CaptumCertifiedError",
    "Certificate",
    "CertificationError",
    "Certifier",
    "CovarianceSummary",
    "DistanceCertificate",
    "EverydayUnits",
    "FastGradientAttack",
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

# The module that defines each name. It is imported when the name is first used, because PyTorch takes seconds to load
# and `captum-certified --help` does not need it.
_NAMES_OF = {
    "attr": (
        "NormalizedSmoothGrad",
        "RelaxedSparsifiedSmoothGrad",
        "ScaledQuadraticSmoothGrad",
        "ScaledSmoothGrad",
        "Shared",
        "SmoothedAttribution",
        "SparsifiedSmoothGrad",
        "UniformGradient",
        "Upsampled",
        "sample_many",
    ),
    "certify": (
        "Certificate",
        "Certifier",
        "DistanceCertificate",
        "RankCertificate",
        "RegionCertificate",
        "SelectionCertificate",
        "TopKCertificate",
    ),
    "certify.pilot": ("Pilot", "PilotRow", "pilot"),
    "exceptions": (
        "CaptumCertifiedError",
        "CertificationError",
        "FileFormatError",
        "InvalidInputError",
        "NotEnoughMemoryError",
    ),
    "images.everyday_units": ("EverydayUnits", "radius_in_units"),
    "images.superpixels": ("superpixels",),
    "maps": ("CovarianceSummary", "SmoothedMap"),
    "metrics": (
        "attribution_robustness",
        "cosine_similarity",
        "kendall_tau",
        "local_lipschitz",
        "mass_center_distance",
        "spearman_rank",
        "top_k_intersection",
    ),
    "robust": ("AttackResult", "BlackBoxAttack", "FastGradientAttack", "GhorbaniAttack", "InterpretationAttack"),
}

if not TYPE_CHECKING:  # type checkers and editors see the imports above

    def __getattr__(name: str) -> object:
        """Import a name of this package, or one of its modules, when it is first used."""
        home = next((module for module, names in _NAMES_OF.items() if name in names), None)
        if home is not None:
            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
