"""Facts about Captum methods: what each one wraps, whether it sets hooks, and whether it can be certified."""

import inspect
from collections.abc import Iterator

from captum.attr import (
    LRP,
    Attribution,
    DataLoaderAttribution,
    Deconvolution,
    DeepLift,
    FeaturePermutation,
    GradientShap,
    GuidedBackprop,
    GuidedGradCam,
    LayerDeepLift,
    LayerFeaturePermutation,
    LayerGradientShap,
    LayerLRP,
    LimeBase,
    LLMAttribution,
    LLMGradientAttribution,
    NeuronDeconvolution,
    NeuronDeepLift,
    NeuronDeepLiftShap,
    NeuronGradientShap,
    NeuronGuidedBackprop,
)

from captum_certified._captum import MethodArguments
from captum_certified.exceptions import CertificationError

__all__ = ["check_method", "copies_in_a_call", "hook_setting_method", "wrapped_chain"]

# Methods that set hooks on modules to change their gradient or relevance.
_SET_HOOKS = (
    *(GuidedBackprop, GuidedGradCam, Deconvolution, DeepLift, LRP, LayerDeepLift, LayerLRP),
    *(NeuronGuidedBackprop, NeuronDeconvolution, NeuronDeepLift, NeuronDeepLiftShap),
)
_GRADIENT_SHAP = (GradientShap, LayerGradientShap, NeuronGradientShap)
_REFUSED: dict[type, str] = {
    FeaturePermutation: "permutes features between the rows of a batch",
    LayerFeaturePermutation: "permutes features between the rows of a batch",
    DataLoaderAttribution: "explains a whole data set",
    LLMAttribution: "explains text, to which no Gaussian noise can be added",
    LLMGradientAttribution: "explains text, to which no Gaussian noise can be added",
}


def wrapped_chain(method: object) -> Iterator[object]:
    """Yield the method, the method that it wraps, and so on until a method wraps no other."""
    seen: set[int] = set()
    while method is not None and id(method) not in seen:
        seen.add(id(method))
        yield method
        method = getattr(method, "attribution_method", None) or getattr(method, "layer_attribution", None)


def hook_setting_method(method: object) -> object | None:
    """Return the first method of the :func:`wrapped_chain` that sets hooks on modules, or ``None``."""
    return next((inner for inner in wrapped_chain(method) if isinstance(inner, _SET_HOOKS)), None)


def copies_in_a_call(method: object, arguments: MethodArguments) -> int:
    """Return how many copies of each row one call of a method computes together: path steps, or samples of SHAP."""
    copies = 1
    if arguments.get("internal_batch_size") is None:
        for inner in wrapped_chain(method):
            parameters = inspect.signature(inner.attribute).parameters if isinstance(inner, Attribution) else {}
            for name in ("n_steps", "n_samples") if isinstance(inner, _GRADIENT_SHAP) else ("n_steps",):
                given = arguments.get(name, parameters[name].default) if name in parameters else 1
                copies *= given if isinstance(given, int) and given > 0 else 1
    return copies


def check_method(method: object) -> None:
    """Raise a CertificationError for a method whose map is not a function of one noisy input."""
    for inner in wrapped_chain(method):
        if type(inner) is LimeBase:
            raise CertificationError(
                "Expected a map of the input's entries, got LimeBase, which explains other features than these."
            )
        for refused, reason in _REFUSED.items():
            if isinstance(inner, refused):
                raise CertificationError(
                    f"Expected a method whose map depends on one input alone, got {type(inner).__name__}, "
                    f"which {reason}."
                )
