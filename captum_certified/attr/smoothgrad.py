"""The smoothed attributions, one class for each per-draw map."""

from captum.attr import Attribution

from captum_certified.attr.per_draw_maps import Magnitudes, Normalized, Relaxed, Scaled, ScaledQuadratic, Sparsified
from captum_certified.attr.request import Sign
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
    """Sparsified SmoothGrad: how often each feature is among the ⌈τn⌉ most salient features of a noisy copy.

    The map of a noisy copy is 1 at the ⌈τn⌉ largest positive magnitudes and 0 elsewhere. The mean of these maps can be
    certified far better than the mean of the magnitudes, because no single copy can dominate the mean.

    Args:
        attribution_method: Any Captum attribution.
        tau: τ in (0, 1], the fraction of features that are salient in each copy.
        sign: Which attributions count, by their magnitudes: ``"both"`` for all, or only the ``"positive"`` or only the
            ``"negative"`` attributions. All other attributions count as zero.

    Raises:
        InvalidInputError: ``tau`` is not in (0, 1].

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

    def __init__(self, attribution_method: Attribution, tau: float = 0.1, *, sign: Sign = "both") -> None:
        super().__init__(attribution_method, Sparsified(checked_number("tau", tau, above=0, at_most=1)), sign=sign)

    @property
    def tau(self) -> float:
        """τ, the fraction of features that are salient in each copy."""
        return float(self.per_draw_map.settings()["tau"])


class RelaxedSparsifiedSmoothGrad(SmoothedAttribution):
    """Relaxed sparsified SmoothGrad: the ⌈γn⌉ most salient features count 1, the next ones up to rank ⌈τn⌉ less.

    A feature of rank ⌈γn⌉ + 1 to ⌈τn⌉ counts its magnitude divided by the ⌈γn⌉-th largest magnitude. Thus γ = τ gives
    :class:`SparsifiedSmoothGrad`, and γ = 0 with τ = 1 gives :class:`ScaledSmoothGrad`.

    Args:
        attribution_method: Any Captum attribution.
        tau: τ in (0, 1], the fraction of features that count more than 0.
        gamma: γ in [0, τ], the fraction of features that count 1.
        sign: As in :class:`SparsifiedSmoothGrad`.

    Raises:
        InvalidInputError: ``tau`` is not in (0, 1], or ``gamma`` is not in [0, τ].

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

    def __init__(
        self, attribution_method: Attribution, tau: float = 0.1, gamma: float = 0.01, *, sign: Sign = "both"
    ) -> None:
        tau = checked_number("tau", tau, above=0, at_most=1)
        gamma = checked_number("gamma", gamma, at_least=0)
        if gamma > tau:
            raise InvalidInputError(f"Expected `gamma` <= `tau`, got gamma = {gamma} and tau = {tau}.")
        super().__init__(attribution_method, Relaxed(tau, gamma), sign=sign)

    @property
    def tau(self) -> float:
        """τ, the fraction of features that count more than 0."""
        return float(self.per_draw_map.settings()["tau"])

    @property
    def gamma(self) -> float:
        """γ, the fraction of features that count 1."""
        return float(self.per_draw_map.settings()["gamma"])


class ScaledSmoothGrad(SmoothedAttribution):
    """Scaled SmoothGrad: the mean of |g| / max |g|.

    Each noisy copy's magnitudes are scaled to [0, 1] before they are averaged, so that the mean can be certified. The
    paper finds that these certificates prove next to nothing.

    Args:
        attribution_method: Any Captum attribution.
        sign: As in :class:`SparsifiedSmoothGrad`.

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

    def __init__(self, attribution_method: Attribution, *, sign: Sign = "both") -> None:
        super().__init__(attribution_method, Scaled(), sign=sign)


class ScaledQuadraticSmoothGrad(SmoothedAttribution):
    """Scaled quadratic SmoothGrad: the mean of g² / max g².

    Args:
        attribution_method: Any Captum attribution.
        sign: As in :class:`SparsifiedSmoothGrad`.

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

    def __init__(self, attribution_method: Attribution, *, sign: Sign = "both") -> None:
        super().__init__(attribution_method, ScaledQuadratic(), sign=sign)


class NormalizedSmoothGrad(SmoothedAttribution):
    """Normalised SmoothGrad: the mean of |g| / ‖g‖₂, where the norm is taken over all tensors of an example.

    Args:
        attribution_method: Any Captum attribution.
        sign: As in :class:`SparsifiedSmoothGrad`.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[3.0, -4.0]])
        >>> NormalizedSmoothGrad(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[0.6000, 0.8000]])
    """

    def __init__(self, attribution_method: Attribution, *, sign: Sign = "both") -> None:
        super().__init__(attribution_method, Normalized(), sign=sign)


class UniformGradient(SmoothedAttribution):
    """Mean of |g| under uniform noise on ±√3·stdevs. It is a baseline for attacks and cannot be certified.

    ``sample`` raises an error, because certificates rest on a Lipschitz property of Gaussian noise.

    Args:
        attribution_method: Any Captum attribution.
        sign: As in :class:`SparsifiedSmoothGrad`.

    Source:
        Wang et al. (2020), smoothing with uniform noise.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> model = torch.nn.Linear(2, 1)
        >>> model.weight.data = torch.tensor([[3.0, -4.0]])
        >>> UniformGradient(Saliency(model)).attribute(torch.zeros(1, 2), stdevs=0.2)
        tensor([[3., 4.]])
    """

    noise_law = "uniform"

    def __init__(self, attribution_method: Attribution, *, sign: Sign = "both") -> None:
        super().__init__(attribution_method, Magnitudes(), sign=sign)

    def check_certifiable(self) -> None:
        """Raise a CertificationError, because certificates need Gaussian noise."""
        raise CertificationError("Expected a map smoothed with Gaussian noise, got UniformGradient, a baseline.")
