"""What a run finds out before its first draw."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from captum_certified.attr.fingerprint import DeclaredSettings
from captum_certified.maps import FeatureLayout, Setup, SmoothedMap, same_behaviour, setup_of_rows

__all__ = ["RunStart"]


@dataclass(frozen=True)
class RunStart:
    """What a run finds out before its first draw.

    Attributes:
        declared: What the method says of itself.
        layout: What its features are.
        setups: For every map what it is of.
        plain: Feature magnitudes at the clean input, shape (N, n).
        probes: For every map its probe draw, shape (N, n).
    """

    declared: DeclaredSettings
    layout: FeatureLayout
    setups: list[Setup]
    plain: Tensor
    probes: list[Tensor]

    def of_rows(self, rows: Tensor) -> "RunStart":
        """The start of some of the rows."""
        return replace(
            self,
            layout=self.layout.of_rows(rows),
            setups=[setup_of_rows(setup, rows.tolist()) for setup in self.setups],
            plain=self.plain[rows],
            probes=[probe[rows] for probe in self.probes],
        )

    def behaves_like(self, other: "RunStart") -> bool:
        """Whether two runs explain the same, as far as their plain maps and probe draws say."""
        pairs = zip((self.plain, *self.probes), (other.plain, *other.probes), strict=True)
        return all(same_behaviour(one, two) for one, two in pairs)

    def is_of(self, smoothed_map: SmoothedMap) -> bool:
        """Whether a map is of what this run samples, as far as its plain map and its probe draw say."""
        known = ((smoothed_map.plain, self.plain), (smoothed_map.probe, self.probes[0]))
        return all(one is not None and same_behaviour(one, two) for one, two in known)

    def add_to(self, maps: Sequence[SmoothedMap], *, stochastic: bool, probed: bool) -> list[SmoothedMap]:
        """Return the maps of the run with what was found out about them.

        Args:
            maps: The maps of some draws, one for each explainer.
            stochastic: Whether the method drew random numbers in any pass.
            probed: Whether the probe ran.
        """
        sampled = {"stochastic": stochastic, "probed": probed}
        return [
            replace(smoothed_map, plain=self.plain, probe=probe, setup={**setup, **sampled})
            for smoothed_map, setup, probe in zip(maps, self.setups, self.probes, strict=True)
        ]
