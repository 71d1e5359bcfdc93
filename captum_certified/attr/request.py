"""The arguments of a sampling call, before and after they are checked."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, get_args

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple
from captum_certified.attr.captum_methods import copies_in_a_call
from captum_certified.attr.row_arguments import arguments_of_rows, check_targets, masks_of_rows, plain_target
from captum_certified.checks import checked_integer, checked_stdev
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import Groups, Regions
from captum_certified.maps.feature_layout import check_group_name
from captum_certified.randomness import fresh_seed
from captum_certified.sampling import CovarianceRequest, NoiseLaw, PassSize, PerDrawMap, SamplingPlan, block_draws

__all__ = ["CallSettings", "Explainer", "SamplingRequest", "Sign", "checked_inputs", "checked_sign"]

# Which attributions count: all of them, the positive ones, or the negative ones.
Sign = Literal["both", "positive", "negative"]


class Explainer(Protocol):
    """The part of a smoothed attribution that sampling uses."""

    @property
    def attribution_method(self) -> Attribution:
        """Wrapped Captum method."""

    @property
    def per_draw_map(self) -> PerDrawMap:
        """Map that is averaged."""

    @property
    def sign(self) -> Sign:
        """Which attributions count."""

    @property
    def noise_law(self) -> NoiseLaw:
        """Distribution of the noise."""

    def check_certifiable(self) -> None:
        """Raise a CertificationError for a class that cannot be certified."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CallSettings:
    """All arguments of :meth:`SmoothedAttribution.sample` except ``inputs``, as the caller gave them."""

    nt_samples: int
    stdevs: float | tuple[float, ...]
    nt_samples_batch_size: int | None = None
    draw_baseline_from_distrib: bool = False
    groups: Groups = None
    seed: int | None = None
    attribution_kwargs: MethodArguments | None = None
    show_progress: bool = False
    first_draw: int = 0
    covariance: CovarianceRequest = False
    region: Regions = None
    check_rows: bool = True
    kwargs: MethodArguments = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class SamplingRequest:
    """A sampling call whose arguments have been checked.

    Attributes:
        explainers: Smoothed attributions that wrap the same method object.
        inputs: Clean inputs, each of shape (N, …).
        is_tuple: Whether the caller gave a tuple.
        plan: The draws, and how they are cut into blocks and passes.
        default_pass: The default size of a pass and the reason for it; ``None`` if the caller chose the size.
        arguments: Keyword arguments of the wrapped method.
        groups: Groups of entries. Each group is one feature.
        region: Regions of features. For every draw, the fraction of the map's sum in each region is recorded.
        covariance: Whether to take the covariance of the draws. An integer is the number of draws in a block.
        draw_baseline_from_distrib: As in NoiseTunnel.
        check_rows: Whether to check by a probe that the maps are one fixed function of one noisy input.
        for_certificates: Whether the maps must be certifiable and have all statistics that certificates need.
        show_progress: Whether to show a progress bar on stderr.
    """

    explainers: tuple[Explainer, ...]
    inputs: tuple[Tensor, ...]
    is_tuple: bool
    plan: SamplingPlan
    default_pass: PassSize | None
    arguments: MethodArguments
    groups: Groups
    region: Regions
    covariance: CovarianceRequest
    draw_baseline_from_distrib: bool
    check_rows: bool
    for_certificates: bool
    show_progress: bool

    @classmethod
    def checked(
        cls,
        explainers: Sequence[Explainer],
        inputs: Tensor | tuple[Tensor, ...],
        settings: CallSettings,
        *,
        for_certificates: bool = True,
    ) -> "SamplingRequest":
        """Check the arguments of a call.

        Raises:
            InvalidInputError: An argument is malformed.
            CertificationError: An input with noise is an integer tensor.
        """
        tensors = checked_inputs(inputs)
        signs = sorted({explainer.sign for explainer in explainers})
        if len(signs) > 1:
            raise InvalidInputError(f"Expected `explainers` of one `sign`, because they share draws, got {signs}.")
        rows = len(tensors[0])
        samples = checked_integer("nt_samples", settings.nt_samples, at_least=1)
        first = checked_integer("first_draw", settings.first_draw, below=2**31 - samples)
        arguments = _merged_arguments(settings.kwargs, settings.attribution_kwargs)
        default_pass, size = None, settings.nt_samples_batch_size
        if size is None:
            copies = copies_in_a_call(explainers[0].attribution_method, arguments) if explainers else 1
            default_pass = PassSize.fitting(tensors, copies=copies)
            size = default_pass.draws
        block = _checked_block(settings.covariance, explainers)
        plan = SamplingPlan(
            seed=fresh_seed() if settings.seed is None else checked_integer("seed", settings.seed, below=2**64),
            first_draw=first,
            n_samples=samples,
            pass_size=checked_integer("nt_samples_batch_size", size, at_least=1),
            # `attribute` returns only the last mean, so all its draws can be one block.
            block=block if for_certificates else first + samples,
            stdevs=_checked_stdevs(settings.stdevs, tensors),
            law=explainers[0].noise_law if explainers else "gaussian",
        )
        check_targets(arguments.get("target"), rows)
        if "target" in arguments:
            arguments["target"] = plain_target(arguments["target"])
        if isinstance(settings.groups, str):
            check_group_name(settings.groups)
        return cls(
            explainers=tuple(explainers),
            inputs=tensors,
            is_tuple=isinstance(inputs, tuple),
            plan=plan,
            default_pass=default_pass,
            arguments=arguments,
            groups=settings.groups,
            region=settings.region,
            covariance=settings.covariance if isinstance(settings.covariance, (bool, str)) else block,
            draw_baseline_from_distrib=settings.draw_baseline_from_distrib,
            check_rows=settings.check_rows,
            for_certificates=for_certificates,
            show_progress=settings.show_progress,
        )

    @property
    def method(self) -> Attribution:
        """Wrapped method, which all explainers share."""
        return self.explainers[0].attribution_method

    @property
    def sign(self) -> Sign:
        """Which attributions count, for all explainers."""
        return self.explainers[0].sign if self.explainers else "both"

    @property
    def rows(self) -> int:
        """Number of examples N."""
        return len(self.inputs[0])

    def of_draws(self, draws: range) -> "SamplingRequest":
        """Return the same call for a range of its draws."""
        return replace(self, plan=self.plan.of_draws(draws))

    def with_passes_of_at_most(self, draws: int) -> "SamplingRequest":
        """Return the same call, with a smaller default size of passes. A size that the caller chose is kept."""
        if self.default_pass is None:
            return self
        size = self.default_pass.at_most(draws)
        return replace(self, default_pass=size, plan=replace(self.plan, pass_size=size.draws))

    def with_covariance(self, taken: bool) -> "SamplingRequest":
        """Return the same call with ``covariance="auto"`` replaced by the choice ``taken`` for the first draws."""
        return replace(self, covariance=taken) if self.covariance == "auto" else self

    def of_rows(self, rows: Sequence[int], *, distribution: bool = False) -> "SamplingRequest":
        """Return the same call for some of its examples. If baselines are a distribution, they stay unchanged."""
        total = self.rows
        return replace(
            self,
            inputs=tuple(tensor[list(rows)] for tensor in self.inputs),
            arguments=arguments_of_rows(self.arguments, total, rows, distribution=distribution),
            groups=masks_of_rows(self.groups, total, rows),
            region=masks_of_rows(self.region, total, rows),
        )


def _checked_block(covariance: CovarianceRequest, explainers: Sequence[Explainer]) -> int:
    """Return the number of draws in a block, or raise an InvalidInputError if ``covariance`` is malformed."""
    if isinstance(covariance, bool) or covariance == "auto":
        return block_draws(binary=all(explainer.per_draw_map.binary for explainer in explainers))
    if isinstance(covariance, str):
        raise InvalidInputError(f"Expected `covariance` to be 'auto', a bool or an integer >= 2, got {covariance!r}.")
    return checked_integer("covariance", covariance, at_least=2)


def checked_sign(sign: str) -> Sign:
    """Return a sign, or raise an InvalidInputError if it is unknown."""
    for known in get_args(Sign):
        if sign == known:
            return known  # type: ignore[no-any-return]
    raise InvalidInputError(f"Expected `sign` to be 'both', 'positive' or 'negative', got {sign!r}.")


def checked_inputs(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Check the inputs of a call, and return them as a tuple of tensors of shape (N, …).

    Raises:
        InvalidInputError: ``inputs`` are not dense tensors of one batch size, or were made in inference mode.
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


def _checked_stdevs(stdevs: float | tuple[float, ...], inputs: tuple[Tensor, ...]) -> tuple[float, ...]:
    """Return the standard deviation of every input tensor, or raise an error if ``stdevs`` do not fit the inputs."""
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


def _merged_arguments(kwargs: MethodArguments, attribution_kwargs: MethodArguments | None) -> dict[str, Any]:
    """Return all arguments of the wrapped method."""
    kwargs, attribution_kwargs = dict(kwargs), dict(attribution_kwargs or {})
    nt_type = kwargs.pop("nt_type", None)
    if nt_type == "smoothgrad":
        warnings.warn(
            "`nt_type`='smoothgrad' is not used: the class decides what is averaged. NoiseTunnel averages the "
            "attributions with their signs. This class averages a map of their magnitudes.",
            UserWarning,
            stacklevel=2,
        )
    elif nt_type is not None:
        raise InvalidInputError(f"Expected no `nt_type`, got {nt_type!r}: the class decides how draws are combined.")
    twice = sorted(set(attribution_kwargs) & set(kwargs))
    if twice:
        raise InvalidInputError(f"Expected each argument once, got {twice} also in `attribution_kwargs`.")
    return {**kwargs, **attribution_kwargs}
