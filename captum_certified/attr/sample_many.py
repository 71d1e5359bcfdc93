"""Sampling several maps around one attribution method together."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from captum_certified._captum import MethodArguments
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.attr.smoothed_attribution import SmoothedAttribution
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups, Regions, SmoothedMap
from captum_certified.sampling import CovarianceRequest

__all__ = ["sample_many"]


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
    """Sample several maps around one attribution method for the price of one, because they share every draw.

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
