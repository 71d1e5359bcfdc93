"""Attributions that keep their graph, so that a loss of the map can be differentiated by the input or the weights."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from captum.attr import Attribution, InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor

from captum_certified._captum import selected_outputs
from captum_certified.attr import SmoothedAttribution, SparsifiedSmoothGrad
from captum_certified.attr.captum_methods import wrapped_chain
from captum_certified.attr.per_draw_maps import Relaxed
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import FeatureLayout
from captum_certified.sampling import PerDrawMap, noisy_inputs

__all__ = ["check_differentiable", "differentiable"]

Attribute = Callable[..., Any]

_GRADIENT_METHODS = (Saliency, InputXGradient, IntegratedGradients)
# The fully salient share of the salient features, where a 0/1 map borrows the gradient of a relaxed one.
_RELAXATION = 0.1
_INTERNAL = "internal_batch_size"
_COMBINATIONS = ("smoothgrad", "smoothgrad_sq", "vargrad")


@contextmanager
def differentiable(attribution_method: Attribution) -> Iterator[Attribute]:
    """Within the block, attributions keep the graph from the map back to the inputs and the model's weights.

    Saliency, InputXGradient and IntegratedGradients, and smoothed versions of them: NoiseTunnel, and every
    :class:`~captum_certified.SmoothedAttribution`. All draws and all steps of a path are in one graph: memory grows
    with ``nt_samples`` and ``n_steps``, and ``nt_samples_batch_size`` and ``internal_batch_size`` are passed over.
    The 0/1 draws of SparsifiedSmoothGrad have no gradient; they borrow that of relaxed draws, γ = τ/10. Afterwards
    the method is as it was, also after an exception.

    The networks themselves must be differentiable twice: see :func:`softplus_surrogate` for rectifiers.

    Args:
        attribution_method: The method.

    Yields:
        A function with the arguments of the method's ``attribute``, whose maps have a graph. Smoothed ones also take
        ``first_draw``, the number of the first draw, and NoiseTunnel's a ``seed``.

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
    innermost: Any = check_differentiable(attribution_method)
    before = innermost.gradient_func
    innermost.gradient_func = _gradients_with_graph
    try:
        yield _attribute_of(attribution_method)
    finally:
        innermost.gradient_func = before


def check_differentiable(attribution_method: Attribution) -> Attribution:
    """The method whose gradient is taken in the end.

    Raises:
        InvalidInputError: The method, or one that it wraps, cannot be differentiated.
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
    forward_fn: Callable[..., Any], inputs: Any, target_ind: Any = None, additional_forward_args: Any = None
) -> tuple[Tensor, ...]:
    """Captum's ``compute_gradients``, but the gradients have a graph."""
    with torch.enable_grad():
        outputs = selected_outputs(forward_fn, inputs, target_ind, additional_forward_args)
        gradients: tuple[Tensor, ...] = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        return gradients


def _attribute_of(method: Attribution) -> Attribute:
    if isinstance(method, SmoothedAttribution):
        return lambda inputs, *args, **kwargs: _smoothed(method, inputs, *args, **kwargs)
    if isinstance(method, NoiseTunnel):
        return lambda inputs, *args, **kwargs: _noise_tunnel(method, inputs, *args, **kwargs)
    attribute: Attribute = method.attribute
    return lambda *args, **kwargs: _in_one_graph(attribute, *args, **kwargs)


def _in_one_graph(attribute: Attribute, *args: Any, **kwargs: Any) -> Any:
    """Attribute without internal batches, of which Captum keeps the graph of the first alone."""
    given = inspect.signature(attribute).bind(*args, **kwargs)
    given.arguments.pop(_INTERNAL, None)
    return attribute(*given.args, **given.kwargs)


def _smoothed(
    explainer: SmoothedAttribution,
    inputs: Any,
    nt_samples: int = 5,
    nt_samples_batch_size: int | None = None,  # noqa: ARG001  all draws are in one graph
    stdevs: float | tuple[float, ...] = 1.0,
    draw_baseline_from_distrib: bool = False,
    *,
    first_draw: int = 0,
    groups: Any = None,
    seed: int | None = None,
    attribution_kwargs: Any = None,
    show_progress: bool = False,
    **kwargs: Any,
) -> Any:
    """The mean of relaxed per-draw maps."""
    settings = CallSettings(
        nt_samples=nt_samples,
        stdevs=stdevs,
        draw_baseline_from_distrib=draw_baseline_from_distrib,
        groups=groups,
        seed=seed,
        attribution_kwargs=attribution_kwargs,
        show_progress=show_progress,
        kwargs=kwargs,
        first_draw=first_draw,
    )
    request = _request((explainer,), inputs, settings)
    maps, is_tuple = _draws(explainer.attribution_method, request)
    rows = len(request.inputs[0])
    layout = FeatureLayout.of(maps, is_tuple=is_tuple, rows=rows, groups=groups)
    draws = _relaxed(explainer)(layout.flatten(maps, rows)).values
    return layout.unflatten(draws.reshape(rows, nt_samples, -1).mean(dim=1))


def _noise_tunnel(
    method: NoiseTunnel,
    inputs: Any,
    nt_type: str = "smoothgrad",
    nt_samples: int = 5,
    nt_samples_batch_size: int | None = None,  # noqa: ARG001  all draws are in one graph
    stdevs: float | tuple[float, ...] = 1.0,
    draw_baseline_from_distrib: bool = False,
    *,
    first_draw: int = 0,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """What NoiseTunnel averages, under noise of our own."""
    if nt_type not in _COMBINATIONS:
        raise InvalidInputError(f"Expected `nt_type` to be one of {_COMBINATIONS}, got {nt_type!r}.")
    settings = CallSettings(
        nt_samples=nt_samples,
        stdevs=stdevs,
        draw_baseline_from_distrib=draw_baseline_from_distrib,
        seed=seed,
        kwargs=kwargs,
        first_draw=first_draw,
    )
    request = _request((), inputs, settings)
    draws, is_tuple = _draws(method.attribution_method, request)
    rows = len(request.inputs[0])
    maps = tuple(_combined(m.reshape(rows, nt_samples, *m.shape[1:]), nt_type) for m in draws)
    return maps if is_tuple else maps[0]


def _request(explainers: Sequence[SmoothedAttribution], inputs: Any, settings: CallSettings) -> SamplingRequest:
    """The checked arguments of a call whose draws are all in one pass."""
    whole = replace(settings, nt_samples_batch_size=settings.nt_samples)
    request = SamplingRequest.checked(explainers, inputs, whole, for_certificates=False)
    return replace(request, arguments={n: v for n, v in request.arguments.items() if n != _INTERNAL})


def _draws(method: Attribution, request: SamplingRequest) -> tuple[tuple[Tensor, ...], bool]:
    """Attributions of all noisy inputs with their graph, all draws of example 0 first."""
    wrapped = WrappedMethod(method, request, keep_graph=True)
    draws = range(request.plan.first_draw, request.plan.stop)
    with torch.enable_grad():
        outputs = wrapped(noisy_inputs(request.inputs, draws, request.plan), draws)
    return outputs.maps, outputs.is_tuple


def _relaxed(explainer: SmoothedAttribution) -> PerDrawMap:
    if isinstance(explainer, SparsifiedSmoothGrad):
        return Relaxed(explainer.tau, _RELAXATION * explainer.tau)
    return explainer.per_draw_map


def _combined(draws: Tensor, nt_type: str) -> Tensor:
    """The mean of attributions of shape (N, draws, …), of their squares, or their variance."""
    if nt_type == "smoothgrad":
        return draws.mean(dim=1)
    squares = draws.square().mean(dim=1)
    return squares if nt_type == "smoothgrad_sq" else squares - draws.mean(dim=1).square()
