"""Facts about a method that a run computes before its first draw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from captum_certified.maps import FeatureLayout, Setup, SmoothedMap, same_behaviour, setup_of_rows

__all__ = ["RunStart"]


@dataclass(frozen=True)
class RunStart:
    """Facts about a method that a run computes before its first draw.

    Attributes:
        layout: Layout of the features.
        setups: Setup of every explainer's map.
        plain: Feature magnitudes at the clean input, shape (N, n).
        probes: For every explainer, its map of one noisy copy (the probe draw), shape (N, n).
    """

    layout: FeatureLayout
    setups: list[Setup]
    plain: Tensor
    probes: list[Tensor]

    def of_rows(self, rows: Tensor) -> "RunStart":
        """Return the facts for some of the examples."""
        return replace(
            self,
            layout=self.layout.of_rows(rows),
            setups=[setup_of_rows(setup, rows.tolist()) for setup in self.setups],
            plain=self.plain[rows],
            probes=[probe[rows] for probe in self.probes],
        )

    def behaves_like(self, other: "RunStart") -> bool:
        """Return whether the plain maps and the probe draws of two runs are equal up to differences in arithmetic."""
        pairs = zip((self.plain, *self.probes), (other.plain, *other.probes), strict=True)
        return all(same_behaviour(one, two) for one, two in pairs)

    def is_of(self, smoothed_map: SmoothedMap) -> bool:
        """Return whether a map has the plain map and the probe draw of this run, up to differences in arithmetic."""
        known = ((smoothed_map.plain, self.plain), (smoothed_map.probe, self.probes[0]))
        return all(one is not None and same_behaviour(one, two) for one, two in known)

    def add_to(self, maps: Sequence[SmoothedMap], *, stochastic: bool, probed: bool) -> list[SmoothedMap]:
        """Return copies of the maps, one for each explainer, with setups, plain maps and probe draws."""
        sampled = {"stochastic": stochastic, "probed": probed}
        return [
            replace(smoothed_map, plain=self.plain, probe=probe, setup={**setup, **sampled})
            for smoothed_map, setup, probe in zip(maps, self.setups, self.probes, strict=True)
        ]
