"""One call, checked: inputs, draws, noise, features, and the wrapped method's arguments."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from captum_certified._captum import as_tuple
from captum_certified.attr.row_arguments import arguments_of_rows, check_targets, masks_of_rows, plain_target
from captum_certified.checks import checked_integer, checked_stdev
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import Groups, Regions
from captum_certified.randomness import fresh_seed
from captum_certified.sampling import CovarianceRequest, NoiseLaw, SamplingPlan

__all__ = ["SamplingRequest", "checked_inputs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingRequest:
    """What one call of ``attribute``, ``sample`` or ``stream`` asks for."""

    inputs: tuple[Tensor, ...]
    is_tuple: bool
    plan: SamplingPlan
    arguments: dict[str, Any]
    groups: Groups
    region: Regions
    covariance: CovarianceRequest
    draw_baseline_from_distrib: bool
    show_progress: bool

    @classmethod
    def checked(
        cls,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        nt_samples: int,
        nt_samples_batch_size: int | None,
        stdevs: float | tuple[float, ...],
        draw_baseline_from_distrib: bool,
        groups: Groups,
        seed: int | None,
        attribution_kwargs: Mapping[str, Any] | None,
        show_progress: bool,
        block: int,
        kwargs: Mapping[str, Any],
        region: Regions = None,
        covariance: CovarianceRequest = False,
        first_draw: int = 0,
        law: NoiseLaw = "gaussian",
    ) -> "SamplingRequest":
        """Check the arguments of a call.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: Integer inputs are to be perturbed.
        """
        tensors = checked_inputs(inputs)
        samples = checked_integer("nt_samples", nt_samples, at_least=1)
        pass_size = nt_samples_batch_size
        if pass_size is None:
            pass_size = SamplingPlan.default_pass_size(len(tensors[0]))
        plan = SamplingPlan(
            seed=fresh_seed() if seed is None else checked_integer("seed", seed, below=2**64),
            first_draw=checked_integer("first_draw", first_draw, below=2**31 - samples),
            n_samples=samples,
            pass_size=checked_integer("nt_samples_batch_size", pass_size, at_least=1),
            block=_checked_block(covariance, block),
            stdevs=_checked_stdevs(stdevs, tensors),
            law=law,
        )
        arguments = _merged_arguments(kwargs, attribution_kwargs)
        check_targets(arguments.get("target"), len(tensors[0]))
        if "target" in arguments:
            arguments["target"] = plain_target(arguments["target"])
        if isinstance(groups, str) and groups != "channels":
            raise InvalidInputError(f"Expected `groups` to be None, 'channels', or integer masks, got {groups!r}.")
        return cls(
            inputs=tensors,
            is_tuple=isinstance(inputs, tuple),
            plan=plan,
            arguments=arguments,
            groups=groups,
            region=region,
            covariance=covariance if isinstance(covariance, (bool, str)) else plan.block,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            show_progress=show_progress,
        )

    def of_rows(self, rows: Sequence[int], *, distribution: bool) -> "SamplingRequest":
        """The same call on some of its rows.

        Args:
            rows: Their numbers.
            distribution: Whether the baselines are a reference distribution, which belongs to no row.
        """
        total = len(self.inputs[0])
        return replace(
            self,
            inputs=tuple(tensor[list(rows)] for tensor in self.inputs),
            arguments=arguments_of_rows(self.arguments, total, rows, distribution=distribution),
            groups=masks_of_rows(self.groups, total, rows),
            region=masks_of_rows(self.region, total, rows),
        )


def _checked_block(covariance: CovarianceRequest, block: int) -> int:
    """Draws between two maps of a stream: a block of the covariance, if its size is given.

    Raises:
        InvalidInputError: `covariance` is not 'auto', a bool or an integer >= 2.
    """
    if isinstance(covariance, bool) or covariance == "auto":
        return block
    if isinstance(covariance, str):
        raise InvalidInputError(f"Expected `covariance` to be 'auto', a bool or an integer >= 2, got {covariance!r}.")
    return checked_integer("covariance", covariance, at_least=2)


def checked_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """A tensor of shape (N, …), or a tuple of them with one batch size, as a tuple.

    Raises:
        InvalidInputError: `inputs` are not dense tensors of one batch size, or were made in inference mode.
    """
    if torch.is_inference_mode_enabled():
        raise InvalidInputError("Expected gradients to be available, got a call inside torch.inference_mode().")
    tensors = as_tuple(inputs)
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        raise InvalidInputError(f"Expected `inputs` to be a tensor or a tuple of tensors, got {type(inputs).__name__}.")
    if any(t.is_inference() for t in tensors):
        raise InvalidInputError("Expected `inputs` made outside torch.inference_mode(), got inference tensors.")
    sparse = [str(t.layout) for t in tensors if t.layout != torch.strided] or ["nested" for t in tensors if t.is_nested]
    if sparse:
        raise InvalidInputError(f"Expected dense `inputs`, got a tensor of layout {sparse[0]}; see `Tensor.to_dense`.")
    shapes = [tuple(t.shape) for t in tensors]
    if any(not shape or 0 in shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise InvalidInputError(f"Expected `inputs` of shape (N, ...) with one batch size N >= 1, got {shapes}.")
    return tensors


def _checked_stdevs(stdevs: Any, inputs: tuple[Tensor, ...]) -> tuple[float, ...]:
    if isinstance(stdevs, tuple) and len(stdevs) != len(inputs):
        raise InvalidInputError(
            f"Expected `stdevs` to be a number or a tuple of {len(inputs)}, one for each input, got {stdevs!r}."
        )
    each = stdevs if isinstance(stdevs, tuple) else (stdevs,) * len(inputs)
    checked = tuple(checked_stdev(stdev) for stdev in each)
    for tensor, stdev in zip(inputs, checked, strict=True):
        if stdev > 0 and not tensor.is_floating_point():
            raise CertificationError(
                f"Expected floating point inputs where `stdevs` > 0, got {tensor.dtype}; convert images to floats in "
                "[0, 1], or hold the tensor fixed with a standard deviation of 0. Token ids take no noise, but their "
                "embeddings do: see the how-to on text, docs/howto/text.md."
            )
    return checked


def _merged_arguments(kwargs: Mapping[str, Any], attribution_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    kwargs, hidden = dict(kwargs), dict(attribution_kwargs or {})
    combined = kwargs.pop("nt_type", None)
    if combined == "smoothgrad":
        warnings.warn(
            "`nt_type`='smoothgrad' is not used: the class decides what is averaged. NoiseTunnel averages the "
            "attributions, with their signs; this class averages its per-draw map of their magnitudes.",
            UserWarning,
            stacklevel=2,
        )
    elif combined is not None:
        raise InvalidInputError(f"Expected no `nt_type`, got {combined!r}: the class decides how draws are combined.")
    twice = sorted(set(hidden) & set(kwargs))
    if twice:
        raise InvalidInputError(f"Expected each argument once, got {twice} also in `attribution_kwargs`.")
    return {**kwargs, **hidden}
