"""The certificate figures: which map, which τ, which bound."""

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_certified.reproduce.certificates import (
    PEAK_SIGMA,
    PEAK_TAU,
    RADII,
    RADIUS,
    TAUS,
    CertificateExperiment,
    reached,
)
from captum_certified.reproduce.experiment import Part, Row, Scale
from captum_certified.reproduce.material import Material
from captum_certified.visualization.palette import CURVES

__all__ = [
    "DrawsNeeded",
    "LecuyerComparison",
    "RelaxedOverTau",
    "ScaledMaps",
    "ScaledMapsOverSigma",
    "SparsifiedOverTau",
    "SpectralRadii",
    "UnclippedOverTau",
]

_AT = f"overlap_{RADIUS:g}"
# Bounds of maps that are not all 0/1: the sharper intervals are other ones where they are.
_OTHER_BOUNDS = {
    "theorem2": ("theorem2",),
    "sharper intervals": ("empirical_bernstein", "clopper_pearson"),
    "spectral": ("spectral",),
}
_BOUNDS_OF_PEAK = ("spectral", "best", "clopper_pearson", "theorem2")


class _OverTau(CertificateExperiment):
    """Certified overlap of one map, by whose name the experiment goes, over τ, for every σ.

    Attributes:
        bounds: What certifies it: the paper's bound, sharper intervals, and the covariance of the draws.
    """

    bounds: tuple[str, ...]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at every σ and τ, by each bound.

        The sweep is sampled less often than its peak, which is given apart where there is one.
        """
        rows, has_peak = _of_map(rows, self.name), "peak" in self.needs
        return {
            bound: {
                **{f"σ = {sigma:g}": _over_tau(rows, sigma, bound) for sigma in _sigmas(rows)},
                **({f"peak, {_draws(rows)[-1]} draws": _at_peak(rows, bound)} if has_peak else {}),
            }
            for bound in self.bounds
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A panel for each bound, with one curve for each σ."""
        rows = _of_map(rows, self.name)
        figure = Figure(figsize=(12.0, 4.2), layout="constrained")
        panels, draws = figure.subplots(1, len(self.bounds), sharey=True), _draws(rows)
        for axes, bound in zip(panels, self.bounds, strict=True):
            for color, sigma in zip(CURVES, _sigmas(rows), strict=False):
                curve = _over_tau(rows, sigma, bound)
                axes.plot(TAUS, list(curve.values()), "o-", color=color, label=f"σ = {sigma:g}, {draws[0]} draws")
                if sigma == PEAK_SIGMA and "peak" in self.needs:
                    label = f"σ = {sigma:g}, {draws[-1]} draws"
                    axes.plot(PEAK_TAU, _at_peak(rows, bound), "*", color=color, markersize=13, label=label)
            axes.set_xscale("log")
            axes.set_xticks(TAUS, [f"{tau:g}" for tau in TAUS])
            axes.minorticks_off()
            axes.set_xlabel("τ, the share of features salient in a draw")
            axes.set_title(f"bound {bound}, ρ = {RADIUS:g}", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(bottom=0)
        panels[0].legend(frameon=False)
        return figure


class SparsifiedOverTau(_OverTau):
    """Figure 2(a). Certified overlap of the sparsified map over τ, for every σ."""

    name = "sparsified"
    title = "Figure 2(a): certified overlap of the sparsified map over τ and σ"
    claim = "At ρ = 0.03 and σ = 0.2, 60 % of images reach about .5 to .6 near τ = 0.1, and less at other τ and σ."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "clopper_pearson", "spectral")


class RelaxedOverTau(_OverTau):
    """Figure 2(b). Certified overlap of the relaxed map over τ, for every σ."""

    name = "relaxed"
    title = "Figure 2(b): certified overlap of the relaxed map over τ and σ"
    claim = "Relaxed maps are certified slightly less than sparsified ones."
    needs = ("sweep", "peak")
    bounds = ("theorem2", "empirical_bernstein", "spectral")


class UnclippedOverTau(_OverTau):
    """Figure 12. Certified overlap of the relaxed map with γ = 0 over τ, for every σ."""

    name = "unclipped"
    title = "Figure 12: certified overlap of the relaxed map with γ = 0 over τ and σ"
    claim = "Without clipping, γ = 0, nothing is certified."
    needs = ("unclipped",)
    bounds = ("theorem2", "empirical_bernstein", "spectral")


class ScaledMaps(CertificateExperiment):
    """Figure 1(c). Certified overlap of scaled SmoothGrad and all other maps beside the sparsified one."""

    name = "maps"
    title = "Figure 1(c): certified overlap of sparsified, relaxed, scaled and quadratic maps"
    claim = "Scaled and quadratic maps, and relaxed ones with γ = 0, are hardly certified at all."
    needs = ("sweep", "unclipped")

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Those at the paper's σ."""
        return [part for part in super().parts(material, scale) if (part.settings or {})["sigma"] == PEAK_SIGMA]

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 for every map, by the paper's bound and by ours."""
        return {
            kind: {name: reached([row[_AT] for row in group]) for name, group in _by_map(rows, bounds).items()}
            for kind, bounds in _OTHER_BOUNDS.items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """One curve over the radius for each map: by Theorem 2, by sharper intervals, and by the draws' covariance."""
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        panels = figure.subplots(1, len(_OTHER_BOUNDS), sharey=True)
        for axes, (kind, bounds) in zip(panels, _OTHER_BOUNDS.items(), strict=True):
            for color, (name, group) in zip(CURVES, _by_map(_at_peak_tau(rows), bounds).items(), strict=False):
                _draw_over_radius(axes, group, color, name)
            _finish_over_radius(axes, f"{kind}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
            axes.label_outer()
        return figure


class ScaledMapsOverSigma(CertificateExperiment):
    """Figure 14. Certified overlap of scaled and quadratic SmoothGrad over σ, with other maps beside them."""

    name = "scaled"
    title = "Figure 14: certified overlap of scaled and quadratic maps over σ"
    claim = "Quadratic maps are certified .001 at most, scaled ones nothing, at every σ."
    needs = ("sweep", "unclipped")

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 over σ, and the most that any image reaches at any radius."""
        rows = _at_peak_tau(rows)
        return {
            kind: {
                name: {
                    **_over_sigma(group),
                    "any": max(row[f"overlap_{radius:g}"] for row in group for radius in RADII),
                }
                for name, group in _by_map(rows, bounds).items()
            }
            for kind, bounds in _OTHER_BOUNDS.items()
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """One curve over σ for each map: by Theorem 2, by sharper intervals, and by the draws' covariance."""
        rows = _at_peak_tau(rows)
        figure = Figure(figsize=(12.0, 4.4), layout="constrained")
        panels, sigmas = figure.subplots(1, len(_OTHER_BOUNDS), sharey=True), _sigmas(rows)
        for axes, (kind, bounds) in zip(panels, _OTHER_BOUNDS.items(), strict=True):
            for color, (name, group) in zip(CURVES, _by_map(rows, bounds).items(), strict=False):
                axes.plot(sigmas, list(_over_sigma(group).values()), "o-", color=color, label=name)
            axes.set_xscale("log")
            axes.set_xticks(sigmas, [f"{sigma:g}" for sigma in sigmas])
            axes.minorticks_off()
            axes.set_xlabel("σ")
            axes.set_title(f"{kind}, ρ = {RADIUS:g}, {rows[0]['draws']} draws", fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("certified overlap that 60 % of images reach")
        panels[0].set_ylim(-0.02, 1)
        panels[0].legend(frameon=False)
        return figure


class LecuyerComparison(CertificateExperiment):
    """Figure 15. The shift of Theorem 1, in Theorem 2, beside the bound of Lecuyer et al. of Appendix K."""

    name = "lecuyer"
    title = "Figure 15: Theorem 1 beside the bound of Lecuyer et al."
    claim = "Theorem 1 certifies more than the bound of Lecuyer et al. everywhere."
    needs = ("peak", "sweep")

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Means over the radius, and in how many cases which is larger: photographs, σ, τ, draws and radii."""
        rows = _of_map(rows)
        pairs = [
            (ours[f"overlap_{r:g}"], theirs[f"overlap_{r:g}"])
            for ours, theirs in zip(_of_bound(rows, "theorem2"), _of_bound(rows, "lecuyer"), strict=True)
            for r in RADII
        ]
        peak = {
            bound: {f"{r:g}": statistics.fmean(row[f"overlap_{r:g}"] for row in _peak_rows(rows, bound)) for r in RADII}
            for bound in ("theorem2", "lecuyer")
        }
        return {
            **peak,
            "cases": len(pairs),
            "theorem2_larger": sum(ours > theirs for ours, theirs in pairs),
            "lecuyer_larger": sum(ours < theirs for ours, theirs in pairs),
            "both_zero": sum(ours == theirs == 0 for ours, theirs in pairs),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Both curves at σ = 0.2, τ = 0.1 and the most draws."""
        rows = _of_map(rows)
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for color, bound in zip(CURVES, ("theorem2", "lecuyer"), strict=False):
            _draw_over_radius(axes, _peak_rows(rows, bound), color, bound)
        _finish_over_radius(axes, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {_draws(rows)[-1]} draws")
        return figure


class DrawsNeeded(CertificateExperiment):
    """Beyond the paper: how few draws certify as much as Theorem 2 does from all of them."""

    name = "draws"
    title = "Draws needed for what Theorem 2 certifies from all draws"
    claim = "Ours: sharper bounds need a fraction of the draws."
    needs = ("fewer", "peak")

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What 60 % of images reach at ρ = 0.03 over the draws, and the fewest draws that do for each image.

        Images of which Theorem 2 certifies nothing are left out.
        """
        rows = _of_map(rows)
        numbers = _draws(rows)
        goal = {row["image"]: row[_AT] for row in _peak_rows(rows, "theorem2") if row[_AT] > 0}
        needed: dict[str, dict[str, int | None]] = {}
        for bound in _BOUNDS_OF_PEAK:
            enough: dict[str, int] = {}
            for row in sorted(_of_bound(rows, bound), key=lambda row: row["draws"]):
                if row["image"] in goal and row[_AT] >= goal[row["image"]]:
                    enough.setdefault(row["image"], row["draws"])
            needed[bound] = {image: enough.get(image) for image in goal}
        return {
            "reached": {bound: _over_draws(rows, bound) for bound in _BOUNDS_OF_PEAK},
            "images_that_need_at_most": {
                bound: {f"{n}": sum(m is not None and m <= n for m in of.values()) for n in numbers}
                for bound, of in needed.items()
            },
            "images": len(goal),
            "needed": needed,
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """A curve over the draws for each bound, and a line at what Theorem 2 gets from all of them."""
        rows = _of_map(rows)
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        numbers = _draws(rows)
        for color, bound in zip(CURVES, _BOUNDS_OF_PEAK, strict=False):
            axes.plot(numbers, list(_over_draws(rows, bound).values()), "o-", color=color, label=bound)
        goal = _over_draws(rows, "theorem2")[f"{numbers[-1]}"]
        axes.axhline(goal, color="#999999", linewidth=1, linestyle=":")
        axes.set_xscale("log", base=2)
        axes.set_xticks(numbers, [f"{number}" for number in numbers])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
        axes.set_xlabel("draws")
        axes.set_ylabel("certified overlap that 60 % of images reach")
        axes.set_title(f"ρ = {RADIUS:g}, τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


class SpectralRadii(CertificateExperiment):
    """Beyond the paper: the radius at which half of the top K is certified, image by image."""

    name = "spectral"
    title = "Spectral certificates: the radius at which half of the top fifth is certified"
    claim = "Ours: at least 2.5 times the radius of Theorem 2, in the median over images."

    def summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Both radii and their ratio for every image, and the median ratio."""
        rows = _of_map(rows)
        images = {}
        for paper, spectral in zip(
            _at_tau(rows, PEAK_TAU, "theorem2"), _at_tau(rows, PEAK_TAU, "spectral"), strict=True
        ):
            ratio = spectral["half_radius"] / paper["half_radius"] if paper["half_radius"] else None
            radii = {"theorem2": paper["half_radius"], "spectral": spectral["half_radius"], "ratio": ratio}
            images[paper["image"]] = radii
        ratios = [radii["ratio"] for radii in images.values() if radii["ratio"] is not None]
        median = statistics.median(ratios) if ratios else None
        return {"images": images, "median_ratio": median, "images_without_a_radius": len(images) - len(ratios)}

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Overlap over the radius on the left; on the right both radii of every image."""
        rows = _of_map(rows)
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for color, bound in zip(CURVES, _BOUNDS_OF_PEAK, strict=False):
            _draw_over_radius(left, _at_tau(rows, PEAK_TAU, bound), color, bound)
        _finish_over_radius(left, f"τ = {PEAK_TAU:g}, σ = {PEAK_SIGMA:g}, {rows[0]['draws']} draws")
        images = self.summary(rows)["images"]
        for place, radii in enumerate(images.values()):
            right.plot([radii["theorem2"], radii["spectral"]], [place, place], color="#BBBBBB", zorder=1)
        colors = dict(zip(_BOUNDS_OF_PEAK, CURVES, strict=False))
        for bound in ("theorem2", "spectral"):
            values = [radii[bound] for radii in images.values()]
            right.scatter(values, range(len(values)), color=colors[bound], label=bound, zorder=2)
        right.set_yticks(range(len(images)), list(images), fontsize=8)
        right.set_xlabel("radius at which half of the top fifth is certified")
        right.set_xlim(left=0)
        right.legend(frameon=False)
        right.spines[["top", "right"]].set_visible(False)
        return figure


def _of_map(rows: Sequence[Row], kind: str = "sparsified") -> list[Row]:
    """Rows of a map, one for each photograph, σ, τ, number of draws and bound: several parts may hold the same."""
    named = ("image", "sigma", "tau", "draws", "bound")
    return list({tuple(row[name] for name in named): row for row in rows if row["map"] == kind}.values())


def _of_bound(rows: Sequence[Row], bound: str) -> list[Row]:
    return [row for row in rows if row["bound"] == bound]


def _at_tau(rows: Sequence[Row], tau: float, bound: str) -> list[Row]:
    return [row for row in _of_bound(rows, bound) if row["tau"] == tau]


def _at_peak_tau(rows: Sequence[Row]) -> list[Row]:
    """Every map with τ = 0.1, and those that have no τ."""
    return [row for row in rows if row["tau"] in (None, PEAK_TAU)]


def _sigmas(rows: Sequence[Row]) -> list[float]:
    return sorted({row["sigma"] for row in rows})


def _draws(rows: Sequence[Row]) -> list[int]:
    return sorted({row["draws"] for row in rows})


def _over_draws(rows: Sequence[Row], bound: str) -> dict[str, float]:
    own = _of_bound(rows, bound)
    return {f"{n}": reached([row[_AT] for row in own if row["draws"] == n]) for n in _draws(rows)}


def _over_sigma(rows: Sequence[Row]) -> dict[str, float]:
    return {f"{sigma:g}": reached([row[_AT] for row in rows if row["sigma"] == sigma]) for sigma in _sigmas(rows)}


def _over_tau(rows: Sequence[Row], sigma: float, bound: str) -> dict[str, float]:
    """Of the sweep, whose maps have the fewest draws."""
    fewest = _draws(rows)[0]
    own = [row for row in _of_bound(rows, bound) if row["sigma"] == sigma and row["draws"] == fewest]
    return {f"{tau:g}": reached([row[_AT] for row in own if row["tau"] == tau]) for tau in TAUS}


def _peak_rows(rows: Sequence[Row], bound: str) -> list[Row]:
    """Of the map with σ = 0.2 and τ = 0.1 that has the most draws."""
    most = _draws(rows)[-1]
    return [row for row in _at_tau(rows, PEAK_TAU, bound) if row["sigma"] == PEAK_SIGMA and row["draws"] == most]


def _at_peak(rows: Sequence[Row], bound: str) -> float:
    return reached([row[_AT] for row in _peak_rows(rows, bound)])


def _by_map(rows: Sequence[Row], bounds: Sequence[str]) -> dict[str, list[Row]]:
    """Rows of every map under a readable name."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["bound"] in bounds:
            tau = "" if row["tau"] is None else f" τ = {row['tau']:g}"
            gamma = "" if row["gamma"] is None else f", γ = {row['gamma']:g}"
            groups.setdefault(f"{row['map']}{tau}{gamma}", []).append(row)
    return groups


def _draw_over_radius(axes: Axes, rows: Sequence[Row], color: str, label: str) -> None:
    axes.plot(RADII, [reached([row[f"overlap_{r:g}"] for row in rows]) for r in RADII], "o-", color=color, label=label)


def _finish_over_radius(axes: Axes, title: str) -> None:
    axes.set_xlabel("radius ρ")
    axes.set_ylabel("certified overlap that 60 % of images reach")
    axes.set_ylim(bottom=-0.02, top=1)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
