"""The paper's experiments and ours beside them, and what runs them in parts."""

from captum_certified.reproduce.attacks import AttacksOnGradients, MapsUnderAttack
from captum_certified.reproduce.certified_figures import (
    DrawsNeeded,
    LecuyerComparison,
    OtherMaps,
    SparsifiedOverTau,
    SpectralRadii,
)
from captum_certified.reproduce.experiment import Experiment, Part
from captum_certified.reproduce.material import Material
from captum_certified.reproduce.pixels import CertifiedPixels
from captum_certified.reproduce.run import run_experiment
from captum_certified.reproduce.training import RobustTraining

__all__ = ["EXPERIMENTS", "Experiment", "Material", "Part", "run_experiment"]

# All experiments by name.
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        SparsifiedOverTau(),
        OtherMaps(),
        MapsUnderAttack(),
        AttacksOnGradients(),
        LecuyerComparison(),
        SpectralRadii(),
        DrawsNeeded(),
        CertifiedPixels(),
        RobustTraining(),
    )
}
