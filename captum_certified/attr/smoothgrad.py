"""The smoothed attributions by name: what each of them averages."""

from captum.attr import Attribution

from captum_certified.attr.per_draw_maps import Magnitudes, Normalized, Relaxed, Scaled, ScaledQuadratic, Sparsified
from captum_certified.attr.smoothed_attribution import SmoothedAttribution
from captum_certified.checks import checked_number
from captum_certified.exceptions import CertificationError, InvalidInputError

__all__ = [
    "NormalizedSmoothGrad",
    "RelaxedSparsifiedSmoothGrad",
    "ScaledQuadraticSmoothGrad",
    "ScaledSmoothGrad",
    "SparsifiedSmoothGrad",
    "UniformGradient",
]


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


class RelaxedSparsifiedSmoothGrad(SmoothedAttribution):
    """Relaxed sparsified SmoothGrad: the ⌈γn⌉ most salient features count 1, the next up to ⌈τn⌉ their share.

    The share of a feature is its magnitude over that of the ⌈γn⌉-th largest, so that γ = τ is
    :class:`SparsifiedSmoothGrad` and γ = 0, τ = 1 is :class:`ScaledSmoothGrad`.

    Args:
        attribution_method: Any Captum attribution.
        tau: τ in (0, 1], the fraction of features that are salient at all.
        gamma: γ in [0, τ], the fraction of features that are fully salient.

    Raises:
        InvalidInputError: τ or γ is out of range.

    Source:
        Levine, Singla and Feizi (2019), eq. 2.5.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(4, 1)
        >>> model.weight.data = torch.tensor([[0.5, -4.0, 2.0, 1.0]])
        >>> explainer = RelaxedSparsifiedSmoothGrad(Saliency(model), tau=0.75, gamma=0.5)
        >>> explainer.attribute(torch.zeros(1, 4), nt_samples=8, stdevs=0.2)
        tensor([[0.0000, 1.0000, 1.0000, 0.5000]])
    """

    def __init__(self, attribution_method: Attribution, tau: float = 0.1, gamma: float = 0.01) -> None:
        tau = checked_number("tau", tau, above=0, at_most=1)
        gamma = checked_number("gamma", gamma, at_least=0)
        if gamma > tau:
            raise InvalidInputError(f"Expected `gamma` <= `tau`, got gamma = {gamma} and tau = {tau}.")
        super().__init__(attribution_method, Relaxed(tau, gamma))

    @property
    def tau(self) -> float:
        """τ, the fraction of features that are salient at all."""
        return float(self.per_draw_map.settings()["tau"])

    @property
    def gamma(self) -> float:
        """γ, the fraction of features that are fully salient."""
        return float(self.per_draw_map.settings()["gamma"])


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


class ScaledQuadraticSmoothGrad(SmoothedAttribution):
    """Scaled quadratic SmoothGrad: the mean of g² / max g².

    Args:
        attribution_method: Any Captum attribution.

    Source:
        Levine, Singla and Feizi (2019), section 2.3.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[1.0, -4.0]])
        >>> ScaledQuadraticSmoothGrad(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[0.0625, 1.0000]])
    """

    def __init__(self, attribution_method: Attribution) -> None:
        super().__init__(attribution_method, ScaledQuadratic())


class NormalizedSmoothGrad(SmoothedAttribution):
    """Normalised SmoothGrad: the mean of |g| / ‖g‖₂, the norm taken over all tensors of an example.

    Args:
        attribution_method: Any Captum attribution.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[3.0, -4.0]])
        >>> NormalizedSmoothGrad(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[0.6000, 0.8000]])
    """

    def __init__(self, attribution_method: Attribution) -> None:
        super().__init__(attribution_method, Normalized())


class UniformGradient(SmoothedAttribution):
    """The mean of |g| under uniform noise on ±√3·stdevs: a baseline for attacks, not certifiable.

    The Lipschitz property behind the certificates is one of Gaussian noise, so ``sample`` refuses.

    Args:
        attribution_method: Any Captum attribution.

    Source:
        Smoothing with uniform noise of Wang et al. (2020).

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[3.0, -4.0]])
        >>> UniformGradient(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[3., 4.]])
    """

    noise_law = "uniform"

    def __init__(self, attribution_method: Attribution) -> None:
        super().__init__(attribution_method, Magnitudes())

    def check_certifiable(self) -> None:
        """Refuse.

        Raises:
            CertificationError: Always.
        """
        raise CertificationError("Expected a map smoothed with Gaussian noise, got UniformGradient, a mere baseline.")
