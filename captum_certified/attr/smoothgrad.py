"""The smoothed attributions by name: what each of them averages."""

from captum.attr import Attribution

from captum_certified.attr.base import SmoothedAttribution
from captum_certified.attr.per_draw_maps import Scaled, Sparsified
from captum_certified.smoothing import checked_number

__all__ = ["ScaledSmoothGrad", "SparsifiedSmoothGrad"]


class SparsifiedSmoothGrad(SmoothedAttribution):
    """Sparsified SmoothGrad: how often each feature is among the ⌈τn⌉ most salient of a noisy copy.

    Of every noisy copy only the positions of its largest positive magnitudes are kept, as ones. Their mean can
    be certified far better than the mean of the magnitudes, because no single copy can dominate it.

    Args:
        attribution_method: Any Captum attribution.
        tau: τ in (0, 1], the fraction of features that are salient in each copy.

    Raises:
        InvalidInputError: τ is out of range.

    Source:
        Levine, Singla and Feizi (2019), eq. 2.4.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(4, 1)
        >>> model.weight.data = torch.tensor([[0.1, -4.0, 2.0, 0.5]])
        >>> explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.5)
        >>> explainer.attribute(torch.zeros(1, 4), nt_samples=8, stdevs=0.2)
        tensor([[0., 1., 1., 0.]])
    """

    def __init__(self, attribution_method: Attribution, tau: float = 0.1) -> None:
        super().__init__(attribution_method, Sparsified(checked_number("tau", tau, above=0, at_most=1)))

    @property
    def tau(self) -> float:
        """τ, the fraction of features that are salient in each copy."""
        return float(self.per_draw_map.settings()["tau"])


class ScaledSmoothGrad(SmoothedAttribution):
    """Scaled SmoothGrad: the mean of |g| / max |g|.

    This is ordinary SmoothGrad brought into [0, 1], where it can be certified; the paper finds its certificates
    vacuous.

    Args:
        attribution_method: Any Captum attribution.

    Source:
        Levine, Singla and Feizi (2019), section 2.3.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[1.0, -4.0]])
        >>> ScaledSmoothGrad(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[0.2500, 1.0000]])
    """

    def __init__(self, attribution_method: Attribution) -> None:
        super().__init__(attribution_method, Scaled())
