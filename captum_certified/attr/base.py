"""The smoother: a Captum attribution whose per-draw map is averaged over hashed noise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import log_usage, progress_bar
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.setup import setup_of
from captum_certified.attr.soundness import check_evaluation_mode, check_method
from captum_certified.attr.wrapped import WrappedMethod
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import (
    Attributions,
    Groups,
    NoiseLaw,
    PerDrawMap,
    Regions,
    SmoothedMap,
    block_draws,
    checked_magnitudes,
    smooth,
)

__all__ = ["SmoothedAttribution", "sample_many"]

TensorOrTuple = TypeVar("TensorOrTuple", Tensor, tuple[Tensor, ...])


class SmoothedAttribution(Attribution):
    """Base of the smoothed attributions; use one of its subclasses.

    A subclass says which per-draw map is averaged; this class says how: it wraps any Captum attribution, as
    :class:`captum.attr.NoiseTunnel` does, and takes the wrapped method's arguments by keyword.

    Args:
        attribution_method: Any Captum attribution of a model in evaluation mode.
        per_draw_map: The map that is averaged.
    """

    noise_law: NoiseLaw = "gaussian"

    def __init__(self, attribution_method: Attribution, per_draw_map: PerDrawMap) -> None:
        if not callable(getattr(attribution_method, "attribute", None)):
            raise InvalidInputError(
                f"Expected `attribution_method` to be a Captum attribution, got {type(attribution_method).__name__}."
            )
        super().__init__(attribution_method.forward_func)
        self.attribution_method = attribution_method
        self.per_draw_map = per_draw_map

    @property
    def multiplies_by_inputs(self) -> bool:
        """As the wrapped method."""
        return bool(getattr(self.attribution_method, "multiplies_by_inputs", False))

    def has_convergence_delta(self) -> bool:
        """As the wrapped method."""
        has_delta = getattr(self.attribution_method, "has_convergence_delta", None)
        return bool(has_delta and has_delta())

    def attribute_future(self) -> None:
        """Not supported.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")

    @overload
    def attribute(
        self,
        inputs: TensorOrTuple,
        nt_samples: int = ...,
        nt_samples_batch_size: int | None = ...,
        stdevs: float | tuple[float, ...] = ...,
        draw_baseline_from_distrib: bool = ...,
        *,
        groups: Groups = ...,
        seed: int | None = ...,
        attribution_kwargs: Mapping[str, Any] | None = ...,
        show_progress: bool = ...,
        return_convergence_delta: Literal[True],
        **kwargs: Any,
    ) -> tuple[TensorOrTuple, Tensor]: ...

    @overload
    def attribute(
        self,
        inputs: TensorOrTuple,
        nt_samples: int = ...,
        nt_samples_batch_size: int | None = ...,
        stdevs: float | tuple[float, ...] = ...,
        draw_baseline_from_distrib: bool = ...,
        *,
        groups: Groups = ...,
        seed: int | None = ...,
        attribution_kwargs: Mapping[str, Any] | None = ...,
        show_progress: bool = ...,
        **kwargs: Any,
    ) -> TensorOrTuple: ...

    @log_usage
    def attribute(
        self,
        inputs: Any,
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        *,
        groups: Groups = None,
        seed: int | None = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The smoothed map alone: the drop-in for ``NoiseTunnel(...).attribute``.

        Args:
            inputs: Tensor of shape (N, …), or a tuple of them.
            nt_samples: Number of noisy copies of each example.
            nt_samples_batch_size: Copies computed together; by default as many as keep a pass at 64 rows or
                fewer.
            stdevs: Standard deviation of the Gaussian noise, in the units of ``inputs``; a tuple gives one to
                each input tensor. 0 adds no noise.
            draw_baseline_from_distrib: As in NoiseTunnel.
            groups: ``None``: every entry is a feature. ``"channels"``: the entries of one position are one
                feature, valued by the sum of their magnitudes. An integer mask of shape (1 or N, …), or a tuple
                of them: entries with one id are one feature.
            seed: Seed of the noise; ``None`` draws a fresh one. The global random generators are untouched.
            attribution_kwargs: Arguments of the wrapped method whose names are taken by this one.
            show_progress: Show a progress bar on stderr.
            **kwargs: Arguments of the wrapped method: ``target`` (also ``"argmax"``: the class with the largest
                output at each noisy input), ``baselines``, ``additional_forward_args``, …

        Returns:
            The mean map, in the structure, dtype and device of the wrapped method's output; with
            ``return_convergence_delta=True`` also the deltas of all draws, shape (N · nt_samples,), all draws
            of example 0 first.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: Integer inputs with noise, or attributions that are not finite.
        """
        request = self._request(
            inputs,
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            groups=groups,
            seed=seed,
            attribution_kwargs=attribution_kwargs,
            show_progress=show_progress,
            kwargs=kwargs,
        )
        returns_delta = bool(request.arguments.get("return_convergence_delta"))
        if returns_delta and not self.has_convergence_delta():
            raise InvalidInputError(
                f"Expected `return_convergence_delta` only of methods that have one, got "
                f"{type(self.attribution_method).__name__}."
            )
        sampling = _Sampling([self], request, for_certificates=False)
        *_, [smoothed] = sampling
        maps = tuple(m.to(sampling.device, sampling.dtype) for m in _tuple(smoothed.mean))
        mean = maps if smoothed.layout.is_tuple else maps[0]
        return (mean, sampling.convergence_delta) if returns_delta else mean

    def sample(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        *,
        groups: Groups = None,
        seed: int | None = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        first_draw: int = 0,
        region: Regions = None,
        check_rows: bool = True,
        **kwargs: Any,
    ) -> SmoothedMap:
        """The smoothed map with everything that certificates need.

        Args:
            inputs: As in :meth:`attribute`, and so for all arguments not named here.
            nt_samples: Number of draws. It must be fixed before looking at any certificate.
            nt_samples_batch_size: Draws computed together.
            stdevs: Standard deviation of the noise; at least one must be positive.
            draw_baseline_from_distrib: As in NoiseTunnel.
            groups: What a feature is. A mask belongs to the explanation: recomputing it at a perturbed input
                voids the guarantee.
            seed: Seed of the noise.
            attribution_kwargs: Arguments of the wrapped method whose names are taken.
            show_progress: Show a progress bar on stderr.
            first_draw: Number of the first draw; continues a run of the same seed.
            region: A boolean mask structured like the map, first dimension 1 or N, or a dictionary of them: their
                share of every draw is recorded for :meth:`Certifier.region`.
            check_rows: Check on the first pass that a row attributed alone is what it is in the pass.
            **kwargs: Arguments of the wrapped method.

        Returns:
            The map of draws ``first_draw`` … ``first_draw + nt_samples − 1``.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: No sound certificate could come of it: no noise, integer inputs with noise,
                attributions that are not finite or depend on other rows, or a model with batch-norm or dropout
                in training mode.
        """
        *_, smoothed = self.stream(
            inputs,
            nt_samples,
            nt_samples_batch_size,
            stdevs,
            draw_baseline_from_distrib,
            groups=groups,
            seed=seed,
            attribution_kwargs=attribution_kwargs,
            show_progress=show_progress,
            first_draw=first_draw,
            region=region,
            check_rows=check_rows,
            **kwargs,
        )
        return smoothed

    def stream(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        *,
        groups: Groups = None,
        seed: int | None = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        first_draw: int = 0,
        region: Regions = None,
        check_rows: bool = True,
        **kwargs: Any,
    ) -> Iterator[SmoothedMap]:
        """The map so far, after every block of draws; the last one is what :meth:`sample` returns.

        Stopping early loses less than a block: save the last map, continue later with ``first_draw`` and the
        same seed, and merge. Deciding *when* to stop by looking at certificates voids their confidence.

        Args:
            inputs: As in :meth:`sample`, and so for all arguments.
            nt_samples: Number of draws.
            nt_samples_batch_size: Draws computed together.
            stdevs: Standard deviation of the noise.
            draw_baseline_from_distrib: As in NoiseTunnel.
            groups: What a feature is.
            seed: Seed of the noise.
            attribution_kwargs: Arguments of the wrapped method whose names are taken.
            show_progress: Show a progress bar on stderr.
            first_draw: Number of the first draw.
            region: Regions to record.
            check_rows: Check the first pass.
            **kwargs: Arguments of the wrapped method.

        Returns:
            An iterator of maps of ever more draws.

        Raises:
            InvalidInputError: As :meth:`sample`, already here.
            CertificationError: As :meth:`sample`.
        """
        request = self._request(
            inputs,
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            groups=groups,
            seed=seed,
            attribution_kwargs=attribution_kwargs,
            show_progress=show_progress,
            first_draw=first_draw,
            region=region,
            kwargs=kwargs,
        )
        return (maps[0] for maps in _Sampling([self], request, check_rows=check_rows))

    def check_certifiable(self) -> None:
        """Refuse what no certificate can be given for; subclasses that are mere baselines do.

        Raises:
            CertificationError: This class cannot be certified.
        """

    def _request(self, inputs: Tensor | tuple[Tensor, ...], **arguments: Any) -> SamplingRequest:
        block = block_draws(binary=self.per_draw_map.binary)
        return SamplingRequest.checked(inputs, block=block, law=self.noise_law, **arguments)


def sample_many(
    explainers: Sequence[SmoothedAttribution],
    inputs: Tensor | tuple[Tensor, ...],
    nt_samples: int = 5,
    nt_samples_batch_size: int | None = None,
    stdevs: float | tuple[float, ...] = 1.0,
    draw_baseline_from_distrib: bool = False,
    *,
    groups: Groups = None,
    seed: int | None = None,
    attribution_kwargs: Mapping[str, Any] | None = None,
    show_progress: bool = False,
    first_draw: int = 0,
    region: Regions = None,
    check_rows: bool = True,
    **kwargs: Any,
) -> list[SmoothedMap]:
    """Sample several maps around one attribution method for the price of one: they share every draw.

    Args:
        explainers: Smoothed attributions around one and the same method object.
        inputs: As in :meth:`SmoothedAttribution.sample`, and so for all arguments.
        nt_samples: Number of draws.
        nt_samples_batch_size: Draws computed together.
        stdevs: Standard deviation of the noise.
        draw_baseline_from_distrib: As in NoiseTunnel.
        groups: What a feature is.
        seed: Seed of the noise.
        attribution_kwargs: Arguments of the wrapped method whose names are taken.
        show_progress: Show a progress bar on stderr.
        first_draw: Number of the first draw.
        region: Regions to record.
        check_rows: Check the first pass.
        **kwargs: Arguments of the wrapped method.

    Returns:
        One map for every explainer, equal to what its own ``sample`` would return.

    Raises:
        InvalidInputError: The explainers wrap different methods, or another argument is malformed.
        CertificationError: As :meth:`SmoothedAttribution.sample`.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import ScaledSmoothGrad, SparsifiedSmoothGrad, sample_many
        >>> saliency = Saliency(torch.nn.Sequential(torch.nn.Linear(8, 3), torch.nn.Softplus()))
        >>> explainers = [SparsifiedSmoothGrad(saliency, tau=0.25), ScaledSmoothGrad(saliency)]
        >>> sample_many(
        ...     explainers, torch.zeros(2, 8), nt_samples=16, stdevs=0.1, target=0
        ... )  # doctest: +NORMALIZE_WHITESPACE
        [SmoothedMap(0/1 map of 2 × 8 features, 16 draws, stdevs=0.1),
         SmoothedMap(map of 2 × 8 features, 16 draws, stdevs=0.1)]
    """
    if not explainers:
        raise InvalidInputError("Expected at least one explainer in `explainers`, got none.")
    if any(e.attribution_method is not explainers[0].attribution_method for e in explainers):
        raise InvalidInputError("Expected `explainers` around one attribution method object, got several.")
    request = SamplingRequest.checked(
        inputs,
        nt_samples=nt_samples,
        nt_samples_batch_size=nt_samples_batch_size,
        stdevs=stdevs,
        draw_baseline_from_distrib=draw_baseline_from_distrib,
        groups=groups,
        seed=seed,
        attribution_kwargs=attribution_kwargs,
        show_progress=show_progress,
        first_draw=first_draw,
        region=region,
        block=block_draws(binary=all(e.per_draw_map.binary for e in explainers)),
        kwargs=kwargs,
    )
    *_, maps = _Sampling(explainers, request, check_rows=check_rows)
    return maps


class _Sampling:
    """One run of the loop, as an iterator of the maps after every block."""

    def __init__(
        self,
        explainers: Sequence[SmoothedAttribution],
        request: SamplingRequest,
        *,
        for_certificates: bool = True,
        check_rows: bool = False,
    ) -> None:
        self.explainers = explainers
        self.request = request
        self.for_certificates = for_certificates
        self.rows_unchecked = check_rows
        self.method = explainers[0].attribution_method
        self.dtype = torch.float32
        self.device = request.inputs[0].device
        if for_certificates:
            self._check_certifiable()
        self.wrapped = WrappedMethod(
            self.method,
            request.inputs,
            is_tuple=request.is_tuple,
            arguments=request.arguments,
            seed=request.plan.seed,
            draw_baseline_from_distrib=request.draw_baseline_from_distrib,
        )

    def __iter__(self) -> Iterator[list[SmoothedMap]]:
        plain = self.wrapped.clean() if self.for_certificates else None
        plan, total = self.request.plan, self.request.plan.n_samples
        with progress_bar(total=total, description=_title(self.explainers), show=self.request.show_progress) as bar:
            maps = [explainer.per_draw_map for explainer in self.explainers]
            blocks = smooth(
                self._attribute,
                maps,
                self.request.inputs,
                plan,
                groups=self.request.groups,
                region=self.request.region,
                on_pass=bar.update,
            )
            for fields_of_maps in blocks:
                yield [
                    self._smoothed(explainer, fields, plain)
                    for explainer, fields in zip(self.explainers, fields_of_maps, strict=True)
                ]

    @property
    def convergence_delta(self) -> Tensor:
        """Deltas of all draws, those of example 0 first."""
        return torch.cat(self.wrapped.deltas, dim=1).reshape(-1)

    def _attribute(self, noisy: tuple[Tensor, ...], draws: range) -> Attributions:
        outputs = self.wrapped(noisy, draws)
        if self.rows_unchecked:
            self.rows_unchecked = False
            self.wrapped.check_rows(noisy, outputs, draws)
        self.dtype, self.device = outputs.maps[0].dtype, outputs.maps[0].device
        return outputs

    def _smoothed(
        self, explainer: SmoothedAttribution, fields: dict[str, Any], plain: Attributions | None
    ) -> SmoothedMap:
        if plain is not None:
            columns = fields["layout"].flatten(plain.maps, len(self.request.inputs[0]))
            fields["plain"] = checked_magnitudes(columns, where="at the clean input").cpu()
        setup = setup_of(
            type(explainer).__name__,
            explainer.per_draw_map,
            self.method,
            self.request,
            stochastic=self.wrapped.randomness.used,
        )
        return SmoothedMap(**fields, setup=setup)

    def _check_certifiable(self) -> None:
        for explainer in self.explainers:
            explainer.check_certifiable()
        if not any(self.request.plan.stdevs):
            raise CertificationError("Expected `stdevs` > 0 for at least one input, got no noise.")
        if self.request.arguments.get("return_convergence_delta"):
            raise InvalidInputError("Expected no `return_convergence_delta` here, got True; `attribute` returns it.")
        check_method(self.method)
        check_evaluation_mode(self.method)


def _title(explainers: Sequence[SmoothedAttribution]) -> str:
    return " + ".join(type(explainer).__name__ for explainer in explainers)


def _tuple(maps: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return maps if isinstance(maps, tuple) else (maps,)
