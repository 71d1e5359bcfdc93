"""Every public attribution class of Captum, made for a tensor and for a tuple of tensors.

``python tests/attr/captum_classes.py`` prints the page of the documentation that shows which classes work.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import captum.attr
import torch
from torch import Tensor, nn

from captum_certified import CaptumCertifiedError, ScaledSmoothGrad

KINDS = ("tensor", "tuple")
SELECTED = {"neuron_selector": (0, 1, 1)}
FEW_STEPS = {"target": 1, "n_steps": 4}
FEW_SAMPLES = {"target": 1, "attribution_kwargs": {"n_samples": 2}}
NO_METHOD = "has no `attribute` method of its own"


class OneImage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.linear = nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Linear(48, 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.linear(self.relu(self.conv(image)).flatten(1))


class TwoImages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3)
        self.relu, self.linear = nn.ReLU(), nn.Linear(48, 3)

    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        return self.linear(self.relu(self.first(image) + self.conv(other)).flatten(1))


@dataclass
class Subject:
    """Model, inputs, and other objects that some methods need."""

    model: nn.Module
    inputs: Tensor | tuple[Tensor, ...]
    references: Tensor | tuple[Tensor, ...]
    mask: Tensor | tuple[Tensor, ...]
    window: tuple[Any, ...]


@dataclass(frozen=True)
class Row:
    """How a class is made and called; ``refused`` is a part of the error message if it cannot be smoothed."""

    make: Callable[[Subject], Any]
    arguments: dict[str, Any] = field(default_factory=lambda: {"target": 1})
    needs: dict[str, str] = field(default_factory=dict)
    refused: str | None = None


def subject(kind: str) -> Subject:
    torch.manual_seed(0)
    image, references, mask = torch.rand(2, 1, 6, 6), torch.rand(4, 1, 6, 6), torch.arange(36).reshape(1, 1, 6, 6) // 12
    window = (1, 2, 2)
    if kind == "tensor":
        return Subject(OneImage().eval(), image, references, mask, window)
    model = TwoImages().eval()
    return Subject(model, (image, image + 0.1), (references, references + 0.1), (mask, mask + 3), (window, window))


def of_model(name: str, *, arguments: dict[str, Any] | None = None, **needs: str) -> Row:
    call = {"target": 1} if arguments is None else arguments
    return Row(lambda s: getattr(captum.attr, name)(s.model), call, needs)


def of_layer(name: str, *, arguments: dict[str, Any] | None = None, layer: str = "conv", **needs: str) -> Row:
    call = {"target": 1} if arguments is None else arguments
    return Row(lambda s: getattr(captum.attr, name)(s.model, getattr(s.model, layer)), call, needs)


def refused(make: Callable[[Subject], Any], reason: str) -> Row:
    return Row(make, refused=reason)


def unbuilt(name: str) -> Callable[[Subject], Any]:
    """Return an instance without calling its constructor, which needs a language model."""

    def make(s: Subject) -> Any:
        instance = object.__new__(getattr(captum.attr, name))
        instance.forward_func = s.model
        return instance

    return make


CLASSES: dict[str, Row] = {
    "Saliency": of_model("Saliency"),
    "InputXGradient": of_model("InputXGradient"),
    "IntegratedGradients": of_model("IntegratedGradients", arguments=FEW_STEPS),
    "GuidedBackprop": of_model("GuidedBackprop"),
    "Deconvolution": of_model("Deconvolution"),
    "GuidedGradCam": of_layer("GuidedGradCam"),
    "DeepLift": of_model("DeepLift"),
    "DeepLiftShap": of_model("DeepLiftShap", baselines="references"),
    "GradientShap": of_model("GradientShap", arguments=FEW_SAMPLES, baselines="references"),
    "LRP": of_model("LRP"),
    "FeatureAblation": of_model("FeatureAblation"),
    "Occlusion": of_model("Occlusion", sliding_window_shapes="window"),
    "ShapleyValueSampling": of_model("ShapleyValueSampling", arguments={"target": 1, "n_samples": 2}),
    "ShapleyValues": of_model("ShapleyValues", feature_mask="mask"),
    "KernelShap": of_model("KernelShap", arguments={"target": 1, "n_samples": 8}),
    "Lime": of_model("Lime", arguments={"target": 1, "n_samples": 8}),
    "NoiseTunnel": Row(
        lambda s: captum.attr.NoiseTunnel(captum.attr.Saliency(s.model)),
        {"target": 1, "attribution_kwargs": {"nt_samples": 2, "stdevs": 0.1}},
    ),
    "LayerActivation": of_layer("LayerActivation", arguments={}),
    "LayerGradientXActivation": of_layer("LayerGradientXActivation"),
    "LayerGradCam": of_layer("LayerGradCam"),
    "LayerConductance": of_layer("LayerConductance", arguments=FEW_STEPS),
    "InternalInfluence": of_layer("InternalInfluence", arguments=FEW_STEPS),
    "LayerIntegratedGradients": of_layer("LayerIntegratedGradients", arguments=FEW_STEPS),
    "LayerDeepLift": of_layer("LayerDeepLift"),
    "LayerDeepLiftShap": of_layer("LayerDeepLiftShap", baselines="references"),
    "LayerGradientShap": of_layer("LayerGradientShap", arguments=FEW_SAMPLES, baselines="references"),
    "LayerFeatureAblation": of_layer("LayerFeatureAblation"),
    "LayerLRP": of_layer("LayerLRP", layer="linear"),
    "NeuronGradient": of_layer("NeuronGradient", layer="relu", arguments=SELECTED),
    "NeuronConductance": of_layer("NeuronConductance", layer="relu", arguments={**FEW_STEPS, **SELECTED}),
    "NeuronIntegratedGradients": of_layer(
        "NeuronIntegratedGradients", layer="relu", arguments={**SELECTED, "n_steps": 4}
    ),
    "NeuronDeepLift": of_layer("NeuronDeepLift", layer="relu", arguments=SELECTED),
    "NeuronDeepLiftShap": of_layer("NeuronDeepLiftShap", layer="relu", arguments=SELECTED, baselines="references"),
    "NeuronGuidedBackprop": of_layer("NeuronGuidedBackprop", layer="relu", arguments=SELECTED),
    "NeuronDeconvolution": of_layer("NeuronDeconvolution", layer="relu", arguments=SELECTED),
    "NeuronGradientShap": of_layer(
        "NeuronGradientShap",
        layer="relu",
        arguments={**SELECTED, "attribution_kwargs": {"n_samples": 2}},
        baselines="references",
    ),
    "NeuronFeatureAblation": of_layer("NeuronFeatureAblation", layer="relu", arguments=SELECTED),
    "FeaturePermutation": refused(lambda s: captum.attr.FeaturePermutation(s.model), "permutes features between"),
    "LayerFeaturePermutation": refused(
        lambda s: captum.attr.LayerFeaturePermutation(s.model, s.model.conv), "permutes features between"
    ),
    "DataLoaderAttribution": refused(
        lambda s: captum.attr.DataLoaderAttribution(captum.attr.FeatureAblation(s.model)), "explains a whole data set"
    ),
    "LimeBase": refused(unbuilt("LimeBase"), "explains other features than these"),
    "LLMAttribution": refused(unbuilt("LLMAttribution"), "explains text"),
    "LLMGradientAttribution": refused(unbuilt("LLMGradientAttribution"), "explains text"),
    "RemoteLLMAttribution": refused(unbuilt("RemoteLLMAttribution"), "explains text"),
    "Attribution": refused(lambda s: captum.attr.Attribution(s.model), NO_METHOD),
    "GradientAttribution": refused(lambda s: captum.attr.GradientAttribution(s.model), NO_METHOD),
    "PerturbationAttribution": refused(lambda s: captum.attr.PerturbationAttribution(s.model), NO_METHOD),
    "LayerAttribution": refused(lambda s: captum.attr.LayerAttribution(s.model, s.model.conv), NO_METHOD),
    "NeuronAttribution": refused(lambda s: captum.attr.NeuronAttribution(s.model, s.model.conv), NO_METHOD),
}


def public_attributions() -> set[str]:
    """Return the names of all attribution classes that Captum exports."""
    exported = inspect.getmembers(captum.attr, inspect.isclass)
    return {name for name, kind in exported if issubclass(kind, captum.attr.Attribution)}


def arguments_of(row: Row, s: Subject) -> dict[str, Any]:
    """Return the keyword arguments of a call."""
    return {**row.arguments, **{name: getattr(s, part) for name, part in row.needs.items()}}


def status(name: str, kind: str) -> str:
    """Return ``works``, or the reason why the class is refused."""
    s = subject(kind)
    try:
        explainer = ScaledSmoothGrad(CLASSES[name].make(s))
        explainer.sample(s.inputs, nt_samples=4, stdevs=0.1, seed=0, **arguments_of(CLASSES[name], s))
    except CaptumCertifiedError as error:
        return f"refused: it {str(error).rpartition(', which ')[2]}"
    return "works"


def page() -> str:
    """Return the page of the documentation."""
    lines = [
        "# Which of Captum's methods can be smoothed for a certificate",
        "",
        "Every attribution class that `captum.attr` exports, for a single input tensor and for a tuple of tensors.",
        "This page is written by the test suite, which smooths every class and checks that without noise one draw is",
        "the map of the wrapped method itself. A method that works is probed again in every run, with your model and",
        "your arguments, and refused where it does not fit.",
        "",
        "| class | tensor | tuple |",
        "|---|---|---|",
    ]
    lines += [f"| `{name}` | {status(name, 'tensor')} | {status(name, 'tuple')} |" for name in CLASSES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
