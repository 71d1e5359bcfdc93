"""The attribution methods that the command line offers, and the options that each of them takes."""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from captum_certified.exceptions import InvalidInputError

__all__ = ["METHODS", "MethodChoice", "check_attackable", "check_method_options", "choice_of", "sign_of"]

Sign = Literal["both", "positive", "negative"]
Baselines = Literal["none", "one", "several"]


@dataclass(frozen=True, kw_only=True)
class MethodChoice:
    """A method, and what it needs besides the image.

    Attributes:
        name: The name on the command line.
        captum_name: Name of the class in ``captum.attr``.
        layer: Whether the method needs ``--layer``.
        upsampled: Whether the method's map has the resolution of the layer. The program then sums the map over the
            layer's channels and interpolates it to the size of the image.
        baselines: What ``--baselines`` means to the method. It takes no baselines, or one picture in place of a black
            one, or it needs several pictures.
        cells: Whether the method switches off whole features of ``--groups`` together, and not single values.
        window: Whether the method takes ``--window``.
        sign: The attributions that count unless ``--sign`` is given.
        attackable: Whether an attack can differentiate the map.
    """

    name: str
    captum_name: str
    layer: bool = False
    upsampled: bool = False
    baselines: Baselines = "none"
    cells: bool = False
    window: bool = False
    sign: Sign = "both"
    attackable: bool = False

    @property
    def needs_scikit_learn(self) -> bool:
        """Whether Captum fits a model of scikit-learn for the method."""
        return self.captum_name in ("KernelShap", "Lime")


def _of_layer(name: str, baselines: Baselines = "none") -> MethodChoice:
    """Return the choice of a Captum method that explains a layer. Its name is Captum's name."""
    return MethodChoice(name=name, captum_name=name, layer=True, upsampled=True, baselines=baselines)


_CHOICES = (
    MethodChoice(name="Saliency", captum_name="Saliency", attackable=True),
    MethodChoice(name="InputXGradient", captum_name="InputXGradient", attackable=True),
    MethodChoice(name="IntegratedGradients", captum_name="IntegratedGradients", baselines="one", attackable=True),
    MethodChoice(name="GuidedBackprop", captum_name="GuidedBackprop"),
    MethodChoice(name="Deconvolution", captum_name="Deconvolution"),
    MethodChoice(name="DeepLift", captum_name="DeepLift", baselines="one"),
    MethodChoice(name="DeepLiftShap", captum_name="DeepLiftShap", baselines="several"),
    MethodChoice(name="GradientShap", captum_name="GradientShap", baselines="several"),
    MethodChoice(name="LRP", captum_name="LRP"),
    MethodChoice(name="Occlusion", captum_name="Occlusion", baselines="one", window=True),
    MethodChoice(name="FeatureAblation", captum_name="FeatureAblation", baselines="one", cells=True),
    MethodChoice(name="ShapleyValueSampling", captum_name="ShapleyValueSampling", baselines="one", cells=True),
    MethodChoice(name="KernelShap", captum_name="KernelShap", baselines="one", cells=True),
    MethodChoice(name="Lime", captum_name="Lime", baselines="one", cells=True),
    # Grad-CAM is defined as the positive part of its map. GuidedGradCam has this positive part as one of its two
    # factors.
    MethodChoice(name="GradCAM", captum_name="LayerGradCam", layer=True, upsampled=True, sign="positive"),
    MethodChoice(name="GuidedGradCam", captum_name="GuidedGradCam", layer=True),
    _of_layer("LayerGradientXActivation"),
    _of_layer("LayerIntegratedGradients", baselines="one"),
    _of_layer("LayerDeepLift", baselines="one"),
    _of_layer("LayerDeepLiftShap", baselines="several"),
    _of_layer("LayerGradientShap", baselines="several"),
    _of_layer("LayerConductance", baselines="one"),
    _of_layer("InternalInfluence", baselines="one"),
)
METHODS = {choice.name: choice for choice in _CHOICES}


def choice_of(name: str, option: str = "--method") -> MethodChoice:
    """Return the method of a name.

    Raises:
        InvalidInputError: There is no such method.
    """
    if name not in METHODS:
        raise InvalidInputError(f"Expected `{option}` among {', '.join(METHODS)}, got {name!r}.")
    return METHODS[name]


def sign_of(choice: MethodChoice, arguments: argparse.Namespace) -> Sign:
    """Return which attributions count: those of ``--sign``, or those that are usual for the method."""
    given: Sign | None = getattr(arguments, "sign", None)
    return given or choice.sign


def check_attackable(choice: MethodChoice) -> None:
    """Raise an InvalidInputError for a method whose map an attack cannot differentiate."""
    if not choice.attackable:
        known = [one.name for one in METHODS.values() if one.attackable]
        raise InvalidInputError(
            f"Expected `--method` among {', '.join(known)} for attack, which follows the gradient of the map, got "
            f"{choice.name}, whose map cannot be differentiated. The command certify takes every method. So does "
            "`--attack black_box`."
        )


def check_method_options(choices: Iterable[MethodChoice], arguments: argparse.Namespace) -> None:
    """Refuse options that no chosen method takes, and methods without an option that they need.

    Args:
        choices: The methods.
        arguments: ``layer``, ``window``, ``baselines``.

    Raises:
        InvalidInputError: An option is missing, or none of the methods takes it.
    """
    chosen = list(choices)
    takers = {
        "--layer": (arguments.layer, [one for one in METHODS.values() if one.layer]),
        "--window": (arguments.window, [one for one in METHODS.values() if one.window]),
        "--baselines": (arguments.baselines, [one for one in METHODS.values() if one.baselines != "none"]),
    }
    for option, (value, methods) in takers.items():
        if value is not None and not any(one in methods for one in chosen):
            raise InvalidInputError(
                f"Expected `{option}` only for a method that takes it, one of "
                f"{', '.join(one.name for one in methods)}, got it for {chosen[0].name}."
            )
    for choice in chosen:
        if choice.baselines == "several" and arguments.baselines is None:
            raise InvalidInputError(
                f"Expected `--baselines` for {choice.name}, which compares the image with other images: a folder of "
                "them, or one image."
            )
