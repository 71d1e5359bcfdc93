"""The Certifier: from an explanation, or a map already sampled, to certificates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_certified.attr import SmoothedAttribution
from captum_certified.certify.bounds import BOUNDS, Bound, bound_named
from captum_certified.certify.rank import RankCertificate, resolved_count
from captum_certified.certify.top_k import TopKCertificate
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.smoothing import Groups, SmoothedMap, checked_number

__all__ = ["Certifier"]

_BELOW_ONE = math.nextafter(1.0, 0.0)
_VIOLATIONS_SHARE = 200  # "auto" allows one violated interval for every 200 features of the top set


class Certifier:
    """Certifies smoothed attributions.

    Sampling is the only expensive step. :meth:`certify` samples and certifies; the other methods take the map
    of a certificate, or one from ``sample``, and need no new draws.

    Args:
        attribution_method: A smoothed attribution; needed by :meth:`certify` only.
        confidence: Probability in (0, 1) that a certificate holds, for each example.
        bound: ``"theorem2"``: exactly the paper. ``"hoeffding"``: the same interval, the sharp pairing.
            ``"best"``: the sharpest that exists for the map.
        violations: How many intervals may miss in statements about overlap *counts*: an int is a number, a float
            a fraction of K, ``"auto"`` ⌊K/200⌋. Always 0 for ``theorem2`` and for claims about named features.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Example:
        >>> import torch
        >>> from captum_certified import Certifier, SmoothedMap
        >>> counts = torch.tensor([[1000, 990, 980, 30, 20, 10]])
        >>> smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2)
        >>> Certifier().top_k(smoothed_map, k=3, radius=0.1).overlap
        tensor([3])
        >>> Certifier(bound="theorem2").top_k_curve(smoothed_map, k=3, radii=[0.0, 0.1, 0.4])
        tensor([[2, 2, 0]])
    """

    def __init__(
        self,
        attribution_method: SmoothedAttribution | None = None,
        *,
        confidence: float = 0.95,
        bound: str = "best",
        violations: float | str = "auto",
    ) -> None:
        if attribution_method is not None and not isinstance(attribution_method, SmoothedAttribution):
            raise InvalidInputError(
                "Expected `attribution_method` to be a smoothed attribution such as SparsifiedSmoothGrad, got "
                f"{type(attribution_method).__name__}."
            )
        if bound != "best" and bound not in BOUNDS:
            raise InvalidInputError(f"Expected `bound` to be one of {['best', *BOUNDS]}, got {bound!r}.")
        if violations != "auto":
            resolved_count("violations", violations, 2**62, at_least=0)
        self.attribution_method = attribution_method
        self.confidence = checked_number("confidence", confidence, above=0, at_most=_BELOW_ONE)
        self.bound = bound
        self.violations = violations

    def certify(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        *,
        k: float,
        radius: float,
        nt_samples: int,
        stdevs: float | tuple[float, ...],
        nt_samples_batch_size: int | None = None,
        groups: Groups = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        seed: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> TopKCertificate:
        """Sample, and certify how much of the top K survives every perturbation of L2 size ``radius``.

        Args:
            inputs: Tensor of shape (N, …), or a tuple of them.
            k: Size of the top set: an int is a number of features, a float a fraction of them, rounded up.
            radius: L2 size ρ ≥ 0 of the perturbation, in the units of ``inputs``. With a tuple of ``stdevs`` it is
                ‖δ/σ‖₂ times the first positive one.
            nt_samples: Number of draws, at least 2.
            stdevs: Standard deviation of the noise, in the units of ``inputs``.
            nt_samples_batch_size: Draws computed together; by default as many as keep a pass at 64 rows or fewer.
            groups: What a feature is; see :meth:`SmoothedAttribution.attribute`.
            attribution_kwargs: Arguments of the wrapped method whose names are taken.
            seed: Seed of the noise; ``None`` draws a fresh one and records it.
            show_progress: Show a progress bar on stderr.
            **kwargs: Arguments of the wrapped method, such as ``target``.

        Returns:
            A certificate for every example; its ``map`` serves for any other k, radius or kind.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The guarantee would be unsound.
        """
        if self.attribution_method is None:
            raise InvalidInputError("Expected a Certifier with an `attribution_method` to sample from, got None.")
        checked_number("radius", radius, at_least=0)
        _check_draws(nt_samples)
        smoothed_map = self.attribution_method.sample(
            inputs,
            nt_samples=nt_samples,
            stdevs=stdevs,
            nt_samples_batch_size=nt_samples_batch_size,
            groups=groups,
            attribution_kwargs=attribution_kwargs,
            seed=seed,
            show_progress=show_progress,
            **kwargs,
        )
        return self.top_k(smoothed_map, k=k, radius=radius)

    def top_k(self, smoothed_map: SmoothedMap, *, k: float, radius: float) -> TopKCertificate:
        """Certify how much of the top K of a map survives.

        Args:
            smoothed_map: A map, for instance ``certificate.map``.
            k: Size of the top set.
            radius: L2 size ρ ≥ 0 of the perturbation.

        Returns:
            The certificate.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The bound does not apply to the map.
        """
        bound, count, violations = self._prepared(smoothed_map, k)
        ratios = np.array([self._ratio(smoothed_map, radius)])
        overlap = bound.overlaps(smoothed_map, count, ratios, 1 - self.confidence, violations)[:, 0]
        return TopKCertificate(
            map=smoothed_map,
            radius=float(radius),
            confidence=self.confidence,
            bound=bound.name,
            violations=violations,
            k=count,
            overlap=torch.from_numpy(overlap),
        )

    def top_k_curve(self, smoothed_map: SmoothedMap, *, k: float, radii: Sequence[float] | Tensor) -> Tensor:
        """Certified overlaps at several radii, from one map; together they hold with the same confidence.

        Args:
            smoothed_map: A map.
            k: Size of the top set.
            radii: L2 sizes ρ ≥ 0.

        Returns:
            int64, shape (N, len(radii)).

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The bound does not apply to the map.
        """
        bound, count, violations = self._prepared(smoothed_map, k)
        ratios = np.array([self._ratio(smoothed_map, float(radius)) for radius in radii], dtype=np.float64)
        return torch.from_numpy(bound.overlaps(smoothed_map, count, ratios, 1 - self.confidence, violations))

    def rank(self, smoothed_map: SmoothedMap, *, radius: float) -> RankCertificate:
        """Certify the rank that each feature keeps.

        Args:
            smoothed_map: A map.
            radius: L2 size ρ ≥ 0 of the perturbation.

        Returns:
            The certificate; all ranks hold together.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The bound does not apply to the map.
        """
        bound = self._checked_bound(smoothed_map)
        ranks = bound.ranks(smoothed_map, self._ratio(smoothed_map, radius), 1 - self.confidence)
        return RankCertificate(
            map=smoothed_map,
            radius=float(radius),
            confidence=self.confidence,
            bound=bound.name,
            violations=0,
            feature_rank=torch.from_numpy(ranks),
        )

    def _prepared(self, smoothed_map: SmoothedMap, k: float) -> tuple[Bound, int, int]:
        bound = self._checked_bound(smoothed_map)
        count = resolved_count("k", k, smoothed_map.layout.n_features)
        if not bound.allows_violations:
            return bound, count, 0
        if self.violations == "auto":
            return bound, count, count // _VIOLATIONS_SHARE
        return bound, count, resolved_count("violations", self.violations, count, at_least=0)

    def _checked_bound(self, smoothed_map: SmoothedMap) -> Bound:
        if not isinstance(smoothed_map, SmoothedMap):
            raise InvalidInputError(f"Expected `smoothed_map` to be a SmoothedMap, got {type(smoothed_map).__name__}.")
        _check_draws(int(smoothed_map.n_samples.min()))
        if smoothed_map.sigma == 0:
            raise CertificationError("Expected a map smoothed with `stdevs` > 0, got no noise.")
        return bound_named(self.bound, smoothed_map)

    def _ratio(self, smoothed_map: SmoothedMap, radius: float) -> float:
        return checked_number("radius", radius, at_least=0) / smoothed_map.sigma


def _check_draws(n_samples: object) -> None:
    if isinstance(n_samples, int) and n_samples < 2:
        raise CertificationError(f"Expected at least 2 draws to certify, got {n_samples}.")
