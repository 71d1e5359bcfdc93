"""The base class of the smoothed attributions, which average a map of a Captum attribution over noisy inputs."""

from collections.abc import Generator, Sequence
from typing import Any, Literal, TypeVar, overload

from captum.attr import Attribution, GradientAttribution
from torch import Tensor

from captum_certified._captum import MethodArguments, as_tuple, log_usage
from captum_certified.attr.request import CallSettings, SamplingRequest, Sign, checked_sign
from captum_certified.attr.run import SamplingRun
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups, Maps, Regions, SmoothedMap
from captum_certified.sampling import CovarianceRequest, NoiseLaw, PerDrawMap

__all__ = ["SmoothedAttribution", "sample_many"]

TensorOrTuple = TypeVar("TensorOrTuple", Tensor, tuple[Tensor, ...])


class SmoothedAttribution(Attribution):
    """Base of the smoothed attributions; use one of its subclasses.

    The class wraps any Captum attribution, as :class:`captum.attr.NoiseTunnel` does, and takes the arguments of the
    wrapped method by keyword. A subclass chooses the per-draw map that is averaged.

    Args:
        attribution_method: Any Captum attribution of a model in evaluation mode.
        per_draw_map: Map that is averaged.
        sign: Which attributions count; see :class:`SparsifiedSmoothGrad`.
    """

    noise_law: NoiseLaw = "gaussian"

    def __init__(self, attribution_method: Attribution, per_draw_map: PerDrawMap, *, sign: Sign = "both") -> None:
        if isinstance(attribution_method, type) or not callable(getattr(attribution_method, "attribute", None)):
            raise InvalidInputError(
                f"Expected `attribution_method` to be a Captum attribution, got {_kind(attribution_method)}."
            )
        super().__init__(attribution_method.forward_func)
        self.attribution_method = attribution_method
        self.per_draw_map = per_draw_map
        self.sign = checked_sign(sign)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the wrapped method multiplies by the inputs."""
        return bool(getattr(self.attribution_method, "multiplies_by_inputs", False))

    @property
    def is_gradient_method(self) -> bool:
        """Whether the wrapped method is a gradient method, as in NoiseTunnel."""
        return isinstance(self.attribution_method, GradientAttribution)

    def has_convergence_delta(self) -> bool:
        """Return whether the wrapped method has a convergence delta."""
        has_delta = getattr(self.attribution_method, "has_convergence_delta", None)
        return bool(has_delta and has_delta())

    def attribute_future(self) -> None:
        """Raise a NotImplementedError, because futures are not supported."""
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
        attribution_kwargs: MethodArguments | None = ...,
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
        attribution_kwargs: MethodArguments | None = ...,
        show_progress: bool = ...,
        **kwargs: Any,
    ) -> TensorOrTuple: ...

    @log_usage
    def attribute(
        self,
        inputs: Maps,
        nt_samples: int = 5,
        nt_samples_batch_size: int | None = None,
        stdevs: float | tuple[float, ...] = 1.0,
        draw_baseline_from_distrib: bool = False,
        *,
        groups: Groups = None,
        seed: int | None = None,
        attribution_kwargs: MethodArguments | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Maps | tuple[Maps, Tensor]:
        """Return the mean map, as a drop-in replacement for ``NoiseTunnel(...).attribute``.

        Args:
            inputs: Tensor of shape (N, …), or a tuple of such tensors.
            nt_samples: Number of noisy copies of each example.
            nt_samples_batch_size: Number of noisy copies of each example that are computed together. By default at most
                64 rows, and no more rows than fit into half of the free memory. A row is estimated to take 160 times
                the memory of its input, times the number of steps of a path. The noise does not depend on this number.
            stdevs: Standard deviation of the Gaussian noise, in the units of ``inputs``; a tuple has one number for
                each input tensor. 0 adds no noise.
            draw_baseline_from_distrib: As in NoiseTunnel.
            groups: How entries form features. The magnitude of a feature is the sum of the magnitudes of its entries.
                ``None`` makes every entry a feature. ``"channels"`` groups all channels of each position, and
                ``"patches:8"`` all entries of each cell of 8 × 8 pixels. An integer mask of shape (1 or N, …), or a
                tuple of masks, groups the entries with equal numbers; :func:`~captum_certified.superpixels` makes such
                a mask.
            seed: Seed of the noise; ``None`` chooses a fresh seed. The global random generators are untouched.
            attribution_kwargs: Arguments of the wrapped method that have the same name as an argument of this method.
            show_progress: Show a progress bar on stderr.
            **kwargs: Arguments of the wrapped method: ``target``, ``baselines``, ``additional_forward_args``, … The
                target may be ``"argmax"``, the class with the largest output at each noisy input.

        Returns:
            The mean map, in the structure, dtype and device of the wrapped method's output. With
            ``return_convergence_delta=True`` also the deltas of all draws, shape (N · nt_samples,), with all draws of
            example 0 first.

        Raises:
            InvalidInputError: An argument is malformed.
            CertificationError: An input with noise is an integer tensor, or attributions are not finite.
        """
        settings = CallSettings(
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
        request = SamplingRequest.checked((self,), inputs, settings, for_certificates=False)
        returns_delta = bool(request.arguments.get("return_convergence_delta"))
        if returns_delta and not self.has_convergence_delta():
            raise InvalidInputError(
                f"Expected `return_convergence_delta` only for methods that have a delta, got "
                f"{type(self.attribution_method).__name__}."
            )
        run = SamplingRun(request)
        [smoothed] = run.last()
        maps = tuple(m.to(run.device, dtype) for m, dtype in zip(as_tuple(smoothed.mean), run.dtypes, strict=True))
        mean = maps if smoothed.layout.is_tuple else maps[0]
        return (mean, run.convergence_delta) if returns_delta else mean

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
        attribution_kwargs: MethodArguments | None = None,
        show_progress: bool = False,
        first_draw: int = 0,
        covariance: CovarianceRequest = "auto",
        region: Regions = None,
        check_rows: bool = True,
        **kwargs: Any,
    ) -> SmoothedMap:
        """Sample the smoothed map with all statistics that certificates need.

        The method takes the arguments of :meth:`attribute`, and four more:

        - ``first_draw``: Number of the first draw. To continue an earlier run of the same seed, give the number of
          draws that the earlier run has made.
        - ``covariance``: Whether to take the covariance of the draws, which spectral certificates need. ``"auto"``
          takes the covariance if one block of all examples fits into 1 GB, and warns otherwise. An integer is the
          number of draws in a block. Larger blocks certify slightly more, but need memory in proportion to this number,
          and time in proportion to its square.
        - ``region``: A boolean mask structured like the map, first dimension 1 or N, or a dictionary of masks. For
          every draw, the fraction of the map's sum in each region is recorded for :meth:`Certifier.region`.
        - ``check_rows``: Whether to check, by a few repeated passes, that each per-draw map depends on one noisy input
          alone and that the method does not change during the run.

        Fix ``nt_samples`` before looking at any certificate, or use :meth:`Certifier.certify` with ``overlap``. At
        least one of ``stdevs`` must be positive. A mask in ``groups`` is a fixed part of the explanation. If the mask
        is recomputed at a perturbed input, the guarantee does not hold.

        Returns:
            The map of draws ``first_draw`` … ``first_draw + nt_samples − 1``.

        Raises:
            InvalidInputError: An argument is malformed.
            CertificationError: The map could not be certified. Possible reasons: there is no noise, an input with noise
                is an integer tensor, attributions are not finite or depend on other rows, or a layer such as batch norm
                or dropout is in training mode.
        """
        settings = CallSettings(
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            groups=groups,
            seed=seed,
            attribution_kwargs=attribution_kwargs,
            show_progress=show_progress,
            first_draw=first_draw,
            covariance=covariance,
            region=region,
            check_rows=check_rows,
            kwargs=kwargs,
        )
        return SamplingRun(SamplingRequest.checked((self,), inputs, settings)).last()[0]

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
        attribution_kwargs: MethodArguments | None = None,
        show_progress: bool = False,
        first_draw: int = 0,
        covariance: CovarianceRequest = "auto",
        region: Regions = None,
        check_rows: bool = True,
        **kwargs: Any,
    ) -> Generator[SmoothedMap, None, None]:
        """Yield the map so far after every block of draws. The last map is the result of :meth:`sample`.

        The method takes the arguments of :meth:`sample` and raises the same errors. To stop early and continue later,
        save the last map, sample with ``first_draw`` and the same seed, and merge the maps. Less than one block of
        draws is lost. Deciding *when* to stop by looking at certificates makes their confidence invalid.
        :meth:`Certifier.certify` with ``overlap`` makes this decision soundly.
        """
        settings = CallSettings(
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=draw_baseline_from_distrib,
            groups=groups,
            seed=seed,
            attribution_kwargs=attribution_kwargs,
            show_progress=show_progress,
            first_draw=first_draw,
            covariance=covariance,
            region=region,
            check_rows=check_rows,
            kwargs=kwargs,
        )
        return (maps[0] for maps in SamplingRun(SamplingRequest.checked((self,), inputs, settings)))

    def check_certifiable(self) -> None:
        """Raise a CertificationError in subclasses that are baselines and cannot be certified."""


def _kind(attribution_method: object) -> str:
    if isinstance(attribution_method, type):
        return f"the class {attribution_method.__name__}, not an instance of it"
    return f"{type(attribution_method).__name__}, which has no `attribute` method of its own"


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
    attribution_kwargs: MethodArguments | None = None,
    show_progress: bool = False,
    first_draw: int = 0,
    covariance: CovarianceRequest = "auto",
    region: Regions = None,
    check_rows: bool = True,
    **kwargs: Any,
) -> list[SmoothedMap]:
    """Sample several maps of one attribution method. The maps share every draw, so all cost little more than one.

    The explainers are smoothed attributions around the same method object. The other arguments and the errors are the
    same as for :meth:`SmoothedAttribution.sample`.

    Returns:
        A map for every explainer, equal to the result of its own ``sample``.

    Raises:
        InvalidInputError: The explainers wrap different methods, or another argument is malformed.

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
    settings = CallSettings(
        nt_samples=nt_samples,
        nt_samples_batch_size=nt_samples_batch_size,
        stdevs=stdevs,
        draw_baseline_from_distrib=draw_baseline_from_distrib,
        groups=groups,
        seed=seed,
        attribution_kwargs=attribution_kwargs,
        show_progress=show_progress,
        first_draw=first_draw,
        covariance=covariance,
        region=region,
        check_rows=check_rows,
        kwargs=kwargs,
    )
    return SamplingRun(SamplingRequest.checked(explainers, inputs, settings)).last()
