"""The certifier. It certifies a smoothed map, which it samples itself or which was sampled before."""

import contextlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.certify.distance import DistanceCertificate, certify_distance
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import Prover, check_draws
from captum_certified.certify.rank import RankCertificate, certify_median_ranks, certify_ranks
from captum_certified.certify.reference import Reference
from captum_certified.certify.region import RegionCertificate, certify_region
from captum_certified.certify.selection import SelectionCertificate, certify_selection
from captum_certified.certify.sequential import certify_in_looks
from captum_certified.certify.top_k import TopKCertificate, certify_top_k, warned
from captum_certified.certify.top_k_radii import certified_curve, certified_radius
from captum_certified.certify.written_numbers import written_confidence
from captum_certified.exceptions import InvalidInputError
from captum_certified.maps import Groups, Regions, SmoothedMap
from captum_certified.sampling import CovarianceRequest

__all__ = ["Certifier"]


class Certifier:
    """Certifies smoothed attributions.

    Sampling is the only expensive step. :meth:`certify` samples and certifies. The other methods certify the map of a
    certificate, or a map from ``sample``, and need no new draws. The argument ``overlap`` of :meth:`certify` makes a
    run sequential: each example stops as soon as that overlap is certified.

    A certificate holds for the given target, baselines and further arguments. They stay the same at every perturbed
    input, also where the prediction changes. ``target="argmax"`` explains each noisy copy for its predicted class.

    Every method raises :class:`InvalidInputError` if an argument is invalid, and :class:`CertificationError` if the
    bound does not apply to the map or the guarantee would be unsound.

    Statements *hold together* if all of them are true with a probability of at least ``confidence``. Statements about
    one example hold together if they have the same map, the same ``bound``, and ``violations=0`` or the bound
    ``"spectral"``. Exceptions, each with an error probability of its own: statements about ``fresh_draws``;
    :meth:`region`; :meth:`distance`, unless the bound is ``"spectral"``; and :meth:`median_rank`, unless the bound is
    ``"theorem2"`` or ``"hoeffding"``.

    Args:
        attribution_method: A smoothed attribution. Only :meth:`certify` needs it.
        confidence: In (0, 1). A certificate holds for each example with at least this probability, over the draws.
        bound: ``"theorem2"``: exactly as in the paper. ``"hoeffding"``: the paper's intervals, with sharper overlaps.
            ``"clopper_pearson"``: exact intervals for 0/1 maps. ``"kl"``: Chernoff–Hoeffding intervals.
            ``"empirical_bernstein"``: intervals from the variance of the draws. ``"spectral"``: a bound from the
            covariance of the draws. ``"best"``: the better of the sharpest intervals and the spectral bound, each with
            half the error probability. For a map without a covariance, ``"best"`` is the sharpest intervals alone.
        violations: How many of the features' intervals may fail to contain the exact score: an int, a fraction of K as
            a float, or ``"auto"`` for ⌊K/200⌋. Always 0 for ``"theorem2"``, and in statements about single features.

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
        prover = Prover(confidence, bound, violations)
        self.attribution_method = attribution_method
        self.confidence = prover.confidence
        self.bound = prover.bound
        self.violations = prover.violations

    def __repr__(self) -> str:
        explainer = "" if self.attribution_method is None else f"{type(self.attribution_method).__name__}, "
        return (
            f"Certifier({explainer}confidence={written_confidence(self.confidence)}, bound={self.bound!r}, "
            f"violations={self.violations!r})"
        )

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
        covariance: CovarianceRequest = "auto",
        region: Regions = None,
        overlap: float | None = None,
        reference: Reference = None,
        attribution_kwargs: MethodArguments | None = None,
        seed: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> TopKCertificate:
        """Sample a map, and certify how much of its top K survives every perturbation of L2 size ``radius``.

        Args:
            inputs: Tensor of shape (N, …), or a tuple of such tensors.
            k: Size K of the top set: an int is a number of features, a float a fraction of all features, rounded up.
            radius: L2 size ρ ≥ 0 of the perturbation, in the units of ``inputs``. With a tuple of ``stdevs`` the size
                of a perturbation δ is ‖δ/σ‖₂ times the first positive σ.
            nt_samples: Number of draws of each example, at least 2; with ``overlap`` the largest allowed number.
            stdevs: Standard deviation of the noise, in the units of ``inputs``.
            nt_samples_batch_size: As for :meth:`SmoothedAttribution.attribute`.
            groups: Groups of entries that form one feature; see :meth:`SmoothedAttribution.attribute`.
            covariance: Whether to take the covariance of the draws, which spectral certificates need. ``"auto"`` takes
                the covariance if one block of draws (at most 2048) of all examples fits into 1 GB, and warns otherwise.
            region: The mask of a region, or a dictionary of masks, which :meth:`region` can certify later.
            overlap: Certify sequentially, at interim looks after 1, 2, 4, … blocks of draws and after the last draw.
                Stop sampling an example once this overlap is certified or out of reach. An int is a number of features,
                a float a fraction of K, rounded up. An example that stops at look j is certified with the smaller error
                probability (1 − ``confidence``)/(j(j+1)), now and in all later certificates from the map. Several looks
                therefore do not lower the confidence.
            reference: Certify how many features of this set stay in the top K; see :meth:`top_k`.
            attribution_kwargs: Arguments of the wrapped method whose names are also arguments of :meth:`certify`.
            seed: Seed of the noise; ``None`` draws a fresh seed and records it.
            show_progress: Show a progress bar on stderr, and a forecast after the first look.
            **kwargs: Arguments of the wrapped method, such as ``target``.

        Returns:
            One certificate for all examples. Its ``map`` can be certified again, for another k, radius or kind. With
            ``overlap``, ``stopped`` tells why sampling of each example stopped, and ``n_samples`` after how many draws.

        Example:
            >>> import torch
            >>> from captum.attr import Saliency
            >>> from captum_certified import SparsifiedSmoothGrad
            >>> _ = torch.manual_seed(0)
            >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Softplus(), torch.nn.Linear(4, 2))
            >>> certifier = Certifier(SparsifiedSmoothGrad(Saliency(model), tau=0.25))
            >>> certifier.certify(
            ...     torch.zeros(2, 8), target=0, k=2, radius=0.05, overlap=1, nt_samples=65536, stdevs=1.0, seed=0
            ... ).stopped
            ('certified', 'certified')
        """
        explainer = self.explainer
        goal = Goal(k=k, radius=radius, overlap=overlap, reference=reference)
        check_draws(nt_samples)
        if overlap is not None and "first_draw" in kwargs:
            raise InvalidInputError(
                f"Expected no `first_draw` with `overlap`, got {kwargs['first_draw']!r}: interim looks start at draw 0."
            )
        settings = CallSettings(
            nt_samples=nt_samples,
            nt_samples_batch_size=nt_samples_batch_size,
            stdevs=stdevs,
            draw_baseline_from_distrib=kwargs.pop("draw_baseline_from_distrib", False),
            groups=groups,
            covariance=covariance,
            region=region,
            attribution_kwargs=attribution_kwargs,
            seed=seed,
            show_progress=show_progress,
            first_draw=kwargs.pop("first_draw", 0),
            check_rows=kwargs.pop("check_rows", True),
            kwargs=kwargs,
        )
        run = SamplingRun(SamplingRequest.checked((explainer,), inputs, settings))
        if overlap is not None:
            return warned(certify_in_looks(self.prover, run, goal))
        with contextlib.closing(run.maps()) as maps:
            for [smoothed_map] in maps:  # this raises an error after the first block of draws if no bound applies
                self.check(smoothed_map, k=k)
        return warned(self.top_k(smoothed_map, k=k, radius=radius, reference=reference))

    def top_k(
        self,
        smoothed_map: SmoothedMap,
        *,
        k: float,
        radius: float,
        fresh_draws: int | None = None,
        reference: Reference = None,
    ) -> TopKCertificate:
        """Certify how much of the top K of a map survives every perturbation of L2 size ``radius``.

        Args:
            smoothed_map: A map, for instance ``certificate.map``.
            k: Size K of the top set.
            radius: L2 size ρ ≥ 0 of the perturbation.
            fresh_draws: Compare ``smoothed_map`` with a map of this many new draws at the perturbed input, which must
                be chosen without seeing these draws. ``None`` compares with the exact map there. A statement about
                fresh draws is weaker, allows no violations, and does not hold together with others.
            reference: The set whose overlap with the top K is certified. ``None``: the map's own top K. ``"plain"``:
                the positive entries among the top K of the plain (unsmoothed) attribution. Or a boolean mask structured
                like the map, with first dimension 1 or N. The set is not recomputed at the perturbed input.
        """
        return certify_top_k(
            self.prover, smoothed_map, k=k, radius=radius, fresh_draws=fresh_draws, reference=reference
        )

    def top_k_curve(
        self, smoothed_map: SmoothedMap, *, k: float, radii: Sequence[float] | Tensor, reference: Reference = None
    ) -> Tensor:
        """Certify overlaps at several radii from one map. All overlaps of one example hold together.

        Args:
            smoothed_map: A map.
            k: Size K of the top set.
            radii: L2 sizes ρ ≥ 0.
            reference: As in :meth:`top_k`.

        Returns:
            Overlaps, int64, shape (N, len(radii)).
        """
        return certified_curve(self.prover, smoothed_map, k=k, radii=radii, reference=reference)

    def rank(self, smoothed_map: SmoothedMap, *, radius: float, fresh_draws: int | None = None) -> RankCertificate:
        """Certify the worst rank that each feature can have. All ranks of one example hold together.

        Args:
            smoothed_map: A map.
            radius: L2 size ρ ≥ 0 of the perturbation.
            fresh_draws: As in :meth:`top_k`.
        """
        return certify_ranks(self.prover, smoothed_map, radius=radius, fresh_draws=fresh_draws)

    def radius(self, smoothed_map: SmoothedMap, *, k: float, overlap: float, reference: Reference = None) -> Tensor:
        """Return the radius up to which an overlap of the top K is certified.

        Args:
            smoothed_map: A map.
            k: Size K of the top set.
            overlap: Overlap to certify: an int is a number of features, a float a fraction of K.
            reference: As in :meth:`top_k`. For a set of L features, a float ``overlap`` is a fraction of min(K, L).

        Returns:
            The supremum of the radii at which :meth:`top_k` certifies the overlap, rounded down by 1 in 10⁹, in the
            units of the input, shape (N,). 0 means that no radius is certified, and ∞ that every radius is.
        """
        return certified_radius(self.prover, smoothed_map, k=k, overlap=overlap, reference=reference)

    def median_rank(self, smoothed_map: SmoothedMap, *, radius: float) -> RankCertificate:
        """Certify the ranks of Theorem 3 for features that are salient in at least half of the draws.

        These ranks are weaker than the ranks of :meth:`rank`. They rest on Hoeffding's intervals, so they hold together
        only with statements from the same intervals: those under ``"theorem2"`` and ``"hoeffding"``.

        Args:
            smoothed_map: A map of zeros and ones whose number of ones is bounded (``max_squared_norm``).
            radius: L2 size ρ ≥ 0 of the perturbation.

        Returns:
            The certificate. Features that are salient in fewer than half of the draws have rank n + 1.
        """
        return certify_median_ranks(self.prover, smoothed_map, radius=radius)

    def selection(self, smoothed_map: SmoothedMap, *, radius: float) -> SelectionCertificate:
        """Certify for each feature whether most noisy copies select it. If nothing is proved, there is no decision.

        All decisions about one example hold together, at all radii.

        Args:
            smoothed_map: A map of zeros and ones.
            radius: L2 size ρ ≥ 0 of the perturbation.
        """
        return certify_selection(self.prover, smoothed_map, radius=radius)

    def region(self, smoothed_map: SmoothedMap, *, name: str | None = None, radius: float) -> RegionCertificate:
        """Certify the fraction of the saliency that stays in a region, on average over noisy copies.

        The certified fraction is the largest of three lower bounds. The certifier's ``bound`` has no effect. The
        certificate of one region holds with the certifier's confidence. Those of several regions do not hold together.

        Args:
            smoothed_map: A map sampled with ``region``.
            name: Name of the region. It can be left out if the map has only one region.
            radius: L2 size ρ ≥ 0 of the perturbation.
        """
        return certify_region(self.prover, smoothed_map, name=name, radius=radius)

    def distance(self, smoothed_map: SmoothedMap, *, radius: float) -> DistanceCertificate:
        """Bound the distance and the cosine similarity between this map and the exact map at any perturbed input.

        Whatever the certifier's ``bound``, this certificate uses the spectral bound. It holds together with other
        certificates if they use this bound as well.

        Args:
            smoothed_map: A map whose values are ≥ 0 in every draw. With a covariance the bound is far sharper.
            radius: L2 size ρ ≥ 0 of the perturbation.

        Returns:
            The certificate, whose ``bound`` is always ``"spectral"``.
        """
        return certify_distance(self.prover, smoothed_map, radius=radius)

    def forecast(
        self, smoothed_map: SmoothedMap, *, k: float, radius: float, nt_samples: int, reference: Reference = None
    ) -> Tensor:
        """Forecast the overlaps after more draws, shape (N,), as if the present means were exact. This proves nothing.

        Args:
            smoothed_map: A map, for instance of a few hundred draws.
            k: Size K of the top set.
            radius: L2 size ρ ≥ 0 of the perturbation.
            nt_samples: Number of draws to plan for, at least 2.
            reference: As in :meth:`top_k`.
        """
        return self.top_k(smoothed_map.as_if_of(nt_samples), k=k, radius=radius, reference=reference).overlap

    def check(self, smoothed_map: SmoothedMap, *, k: float) -> None:
        """Raise an error if no number of further draws can certify the top K of a map.

        Args:
            smoothed_map: A map of some of the draws.
            k: Size K of the top set.

        Example:
            >>> import torch
            >>> from captum_certified import Certifier, SmoothedMap
            >>> smoothed_map = SmoothedMap.from_counts(torch.tensor([[90, 50, 10]]), n_samples=100, stdevs=0.2)
            >>> Certifier().check(smoothed_map, k=2)
        """
        self.prover.prepared(smoothed_map, k)

    # -- details -------------------------------------------------------------------------------------------

    @property
    def explainer(self) -> SmoothedAttribution:
        """The smoothed attribution to sample from. Raises an error if the certifier has none."""
        if self.attribution_method is None:
            raise InvalidInputError("Expected a Certifier with an `attribution_method` to sample from, got None.")
        return self.attribution_method

    @property
    def prover(self) -> Prover:
        """The prover, which has the confidence, the bound and the violations of this certifier."""
        return Prover(self.confidence, self.bound, self.violations)
