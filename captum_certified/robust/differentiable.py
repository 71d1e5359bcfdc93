"""Attributions with an autograd graph, through which a loss of the map can be differentiated."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from captum.attr import Attribution, GradientAttribution, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from captum_certified._captum import selected_outputs
from captum_certified.attr import SmoothedAttribution, SparsifiedSmoothGrad
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.per_draw_maps import Relaxed
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout
from captum_certified.sampling import Attributions, PerDrawMap, noisy_inputs

__all__ = ["check_differentiable", "differentiable"]

Attribute = Callable[..., Any]

_GRADIENT_METHODS = (Saliency, InputXGradient, IntegratedGradients)
# A 0/1 map has no gradient, so a relaxed map with this ratio γ/τ replaces it.
_RELAXATION = 0.1
_INTERNAL = "internal_batch_size"
_COMBINATIONS = ("smoothgrad", "smoothgrad_sq", "vargrad")


@contextmanager
def differentiable(attribution_method: Attribution) -> Iterator[Attribute]:
    """Keep the autograd graph from an attribution map back to the inputs and the model's weights, within the block.

    Supported methods are Saliency, InputXGradient and IntegratedGradients, alone or smoothed by NoiseTunnel or a
    :class:`~captum_certified.SmoothedAttribution`. One graph holds all noise draws and all steps of an integration
    path. So memory grows with ``nt_samples`` and ``n_steps``, and ``nt_samples_batch_size`` and
    ``internal_batch_size`` have no effect. The 0/1 maps of SparsifiedSmoothGrad have no gradient, so relaxed maps
    with γ = τ/10 replace them. The method is changed within the block and restored afterwards, also after an exception.

    The network must be twice differentiable; see :func:`softplus_surrogate` for networks with ReLUs.

    Args:
        attribution_method: The attribution method.

    Yields:
        A function that takes the arguments of the method's ``attribute`` and returns maps with a graph. For a smoothed
        method it also takes ``first_draw``, the number of the first draw. For NoiseTunnel it also takes ``seed``.

    Raises:
        InvalidInputError: The method cannot be differentiated.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified.robust import differentiable
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Softplus())
        >>> x = torch.zeros(1, 2, requires_grad=True)
        >>> with differentiable(Saliency(model)) as attribute:
        ...     [slope] = torch.autograd.grad(attribute(x, target=0).sum(), x)
        >>> slope.shape
        torch.Size([1, 2])
    """
    innermost = check_differentiable(attribution_method)
    before = innermost.gradient_func
    innermost.gradient_func = _gradients_with_graph
    try:
        yield _attribute_of(attribution_method)
    finally:
        innermost.gradient_func = before


def check_differentiable(attribution_method: Attribution) -> GradientAttribution:
    """Return the method that computes the gradient: ``attribution_method`` or the method that it wraps.

    Raises:
        InvalidInputError: ``attribution_method``, or a method that it wraps, cannot be differentiated.
    """
    *outer, innermost = wrapped_chain(attribution_method)
    smoothers = len(outer) <= 1 and all(isinstance(one, (SmoothedAttribution, NoiseTunnel)) for one in outer)
    if not smoothers or not isinstance(innermost, _GRADIENT_METHODS):
        chain = " of ".join(type(one).__name__ for one in (*outer, innermost))
        raise InvalidInputError(
            "Expected `attribution_method` to be Saliency, InputXGradient or IntegratedGradients, or a smoothed "
            f"version of one of them, got {chain}, whose map cannot be differentiated."
        )
    return innermost


def _gradients_with_graph(
    forward_fn: Callable[..., Tensor],
    inputs: Tensor | tuple[Tensor, ...],
    target_ind: Any = None,
    additional_forward_args: object = None,
) -> tuple[Tensor, ...]:
    """Compute the gradients that Captum's ``compute_gradients`` returns, with a graph."""
    with torch.enable_grad():
        outputs = selected_outputs(forward_fn, inputs, target_ind, additional_forward_args)
        return torch.autograd.grad(outputs.sum(), inputs, create_graph=True)


def _attribute_of(method: Attribution) -> Attribute:
    if isinstance(method, SmoothedAttribution):
        return partial(_smoothed, method)
    if isinstance(method, NoiseTunnel):
        return partial(_noise_tunnel, method)
    return partial(_in_one_graph, method)


def _in_one_graph(method: Attribution, /, *args: Any, **kwargs: Any) -> Any:
    """Compute attributions without internal batches, because Captum keeps only the graph of the first batch."""
    given = inspect.signature(method.attribute).bind(*args, **kwargs)
    given.arguments.pop(_INTERNAL, None)
    return method.attribute(*given.args, **given.kwargs)


def _smoothed(
    explainer: SmoothedAttribution, /, *args: Any, first_draw: int = 0, **kwargs: Any
) -> Tensor | tuple[Tensor, ...]:
    """Compute the mean of the per-draw maps, with a graph. Relaxed maps replace 0/1 maps."""
    given = inspect.signature(explainer.attribute).bind(*args, **kwargs)
    given.apply_defaults()
    inputs = given.arguments.pop("inputs")
    settings = CallSettings(**given.arguments, first_draw=first_draw)
    outputs, rows = _draws(explainer.attribution_method, (explainer,), inputs, settings)
    layout = FeatureLayout.of(outputs.maps, is_tuple=outputs.is_tuple, rows=rows, groups=settings.groups)
    draws = _relaxed(explainer)(layout.flatten(outputs.maps, rows)).values
    return layout.unflatten(draws.reshape(rows, settings.nt_samples, -1).mean(dim=1))


def _noise_tunnel(
    tunnel: NoiseTunnel, /, *args: Any, first_draw: int = 0, seed: int | None = None, **kwargs: Any
) -> Tensor | tuple[Tensor, ...]:
    """Compute the map of NoiseTunnel, with a graph and with the noise of this package."""
    given = inspect.signature(tunnel.attribute).bind(*args, **kwargs)
    given.apply_defaults()
    inputs, nt_type = given.arguments.pop("inputs"), given.arguments.pop("nt_type")
    if nt_type not in _COMBINATIONS:
        raise InvalidInputError(f"Expected `nt_type` to be one of {_COMBINATIONS}, got {nt_type!r}.")
    settings = CallSettings(**given.arguments, first_draw=first_draw, seed=seed)
    outputs, rows = _draws(tunnel.attribution_method, (), inputs, settings)
    draws = (m.reshape(rows, settings.nt_samples, *m.shape[1:]) for m in outputs.maps)
    maps = tuple(_combined(each, nt_type) for each in draws)
    return maps if outputs.is_tuple else maps[0]


def _draws(
    method: Attribution,
    explainers: Sequence[SmoothedAttribution],
    inputs: Tensor | tuple[Tensor, ...],
    settings: CallSettings,
) -> tuple[Attributions, int]:
    """Compute the attributions of all noisy inputs in one pass, with a graph.

    Returns:
        The attributions, all draws of example 0 first, and the number N of examples.
    """
    one_pass = replace(settings, nt_samples_batch_size=settings.nt_samples)
    request = SamplingRequest.checked(explainers, inputs, one_pass, for_certificates=False)
    arguments = {name: value for name, value in request.arguments.items() if name != _INTERNAL}
    request = replace(request, arguments=arguments)
    draws = range(request.plan.first_draw, request.plan.stop)
    with torch.enable_grad():
        attribute = WrappedMethod(method, request, keep_graph=True)
        return attribute(noisy_inputs(request.inputs, draws, request.plan), draws), request.rows


def _relaxed(explainer: SmoothedAttribution) -> PerDrawMap:
    if isinstance(explainer, SparsifiedSmoothGrad):
        return Relaxed(explainer.tau, _RELAXATION * explainer.tau)
    return explainer.per_draw_map


def _combined(draws: Tensor, nt_type: str) -> Tensor:
    """Return the mean, the mean square or the variance of attributions of shape (N, draws, …) over the draws."""
    if nt_type == "smoothgrad":
        return draws.mean(dim=1)
    squares = draws.square().mean(dim=1)
    return squares if nt_type == "smoothgrad_sq" else squares - draws.mean(dim=1).square()
