"""The paper's experiments and ours beside them, and what runs them in parts."""

from captum_certified.reproduce.attacks import AttacksOnGradients, MapsUnderAttack
from captum_certified.reproduce.certified_bounds import DrawsNeeded, LecuyerComparison, SpectralRadii
from captum_certified.reproduce.experiment import Experiment, Part
from captum_certified.reproduce.gallery import DigitGallery, ImageGallery
from captum_certified.reproduce.headroom import CertifiedAndAttacked
from captum_certified.reproduce.material import Material
from captum_certified.reproduce.over_tau import RelaxedOverTau, SparsifiedOverTau, UnclippedOverTau
from captum_certified.reproduce.pixels import CertifiedPixels
from captum_certified.reproduce.run import run_experiment
from captum_certified.reproduce.saliency_weight import SaliencyWeights
from captum_certified.reproduce.scaled_maps import ScaledMaps, ScaledMapsOverSigma
from captum_certified.reproduce.training import RobustTraining
from captum_certified.reproduce.transfer import TransferOfAttacks

__all__ = ["EXPERIMENTS", "Experiment", "Material", "Part", "run_experiment"]

# All experiments by name.
EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        SparsifiedOverTau(),
        RelaxedOverTau(),
        ScaledMaps(),
        UnclippedOverTau(),
        ScaledMapsOverSigma(),
        MapsUnderAttack(),
        AttacksOnGradients(),
        CertifiedAndAttacked(),
        LecuyerComparison(),
        SpectralRadii(),
        DrawsNeeded(),
        CertifiedPixels(),
        RobustTraining(),
        SaliencyWeights(),
        TransferOfAttacks(),
        ImageGallery(),
        DigitGallery(),
    )
}
