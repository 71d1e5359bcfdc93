"""All experiments, those of the paper and our own, and the function that runs an experiment part by part."""

from captum_certified.reproduce.center import CenterSmoothingComparison
from captum_certified.reproduce.certified_and_attacked import CertifiedAndAttacked
from captum_certified.reproduce.certified_pixels import CertifiedPixels
from captum_certified.reproduce.chest_xrays import ChestXrays
from captum_certified.reproduce.draws import DrawsNeeded
from captum_certified.reproduce.experiment import Experiment, Part
from captum_certified.reproduce.figure_1a import ImageGallery
from captum_certified.reproduce.figure_1b import XrayGallery
from captum_certified.reproduce.figure_1c import ScaledMaps
from captum_certified.reproduce.figure_2 import RelaxedOverTau, SparsifiedOverTau
from captum_certified.reproduce.figure_3 import PhotographGallery, SmallImageGallery
from captum_certified.reproduce.figure_4 import MapsUnderAttack
from captum_certified.reproduce.figure_5 import AdversarialTraining
from captum_certified.reproduce.figure_6 import AttacksOnGradients, AttacksOnSmoothGrad
from captum_certified.reproduce.figure_7 import SaliencyWeights
from captum_certified.reproduce.figure_8 import DigitGallery, DigitsByWeight
from captum_certified.reproduce.figure_12 import ScaledMapsOverSigma, UnclippedOverTau
from captum_certified.reproduce.figure_14 import CertifiedAtSmallRadii
from captum_certified.reproduce.figure_15 import LecuyerComparison
from captum_certified.reproduce.networks_and_images import Material
from captum_certified.reproduce.robust_attributions import RobustAttributions
from captum_certified.reproduce.robust_training import RobustTraining
from captum_certified.reproduce.run import run_experiment
from captum_certified.reproduce.smoothed_geometry import SmoothedGeometry
from captum_certified.reproduce.spectral_radii import SpectralRadii
from captum_certified.reproduce.transfer import TransferOfAttacks

__all__ = ["EXPERIMENTS", "Experiment", "Material", "Part", "run_experiment"]

# All experiments by name on the command line, in the order of `captum-certified reproduce list`.
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
        AttacksOnSmoothGrad(),
        CertifiedAtSmallRadii(),
        CertifiedAndAttacked(),
        LecuyerComparison(),
        SpectralRadii(),
        DrawsNeeded(),
        CertifiedPixels(),
        RobustTraining(),
        RobustAttributions(),
        SaliencyWeights(),
        ChestXrays(),
        CenterSmoothingComparison(),
        SmoothedGeometry(),
        TransferOfAttacks(),
        ImageGallery(),
        XrayGallery(),
        PhotographGallery(),
        SmallImageGallery(),
        AdversarialTraining(),
        DigitGallery(),
        DigitsByWeight(),
    )
}
