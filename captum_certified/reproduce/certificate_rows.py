"""Rows of the certificate experiments: which of them a figure shows, and how it draws them."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from captum_certified.reproduce.certificates import PEAK_SIGMA, PEAK_TAU, RADII, RADIUS
from captum_certified.reproduce.experiment import Row
from captum_certified.theory import fraction_to_count

__all__ = [
    "AT_RADIUS",
    "at_tau",
    "draw_over_radius",
    "draws_of",
    "finish_over_radius",
    "finish_over_values",
    "of_bound",
    "of_map",
    "peak_rows",
    "reached",
    "reached_at",
    "sigmas_of",
]

AT_RADIUS = f"overlap_{RADIUS:g}"


def reached(values: Sequence[float], share: float = 0.6) -> float:
    """The largest value that at least a share of all values reach; the paper's text plots it for 60 % of images."""
    return sorted(values, reverse=True)[fraction_to_count(share, len(values)) - 1]


def reached_at(rows: Sequence[Row], radius: float = RADIUS) -> float:
    """What 60 % of images reach at a radius."""
    return reached([row[f"overlap_{radius:g}"] for row in rows])


def of_map(rows: Sequence[Row], kind: str = "sparsified") -> list[Row]:
    """Rows of a map, one for each photograph, σ, τ, number of draws and bound: several parts may hold the same."""
    named = ("image", "sigma", "tau", "draws", "bound")
    return list({tuple(row[name] for name in named): row for row in rows if row["map"] == kind}.values())


def of_bound(rows: Sequence[Row], bound: str) -> list[Row]:
    """Rows of a bound."""
    return [row for row in rows if row["bound"] == bound]


def at_tau(rows: Sequence[Row], tau: float, bound: str) -> list[Row]:
    """Rows of a bound and a τ."""
    return [row for row in of_bound(rows, bound) if row["tau"] == tau]


def sigmas_of(rows: Sequence[Row]) -> list[float]:
    """Every σ of them."""
    return sorted({row["sigma"] for row in rows})


def draws_of(rows: Sequence[Row]) -> list[int]:
    """Every number of draws of them."""
    return sorted({row["draws"] for row in rows})


def peak_rows(rows: Sequence[Row], bound: str) -> list[Row]:
    """Of the map with σ = 0.2 and τ = 0.1 that has the most draws."""
    most = draws_of(rows)[-1]
    return [row for row in at_tau(rows, PEAK_TAU, bound) if row["sigma"] == PEAK_SIGMA and row["draws"] == most]


def draw_over_radius(axes: Axes, rows: Sequence[Row], color: str, label: str) -> None:
    """A curve of what 60 % of images reach."""
    axes.plot(RADII, [reached_at(rows, radius) for radius in RADII], "o-", color=color, label=label)


def finish_over_radius(axes: Axes, title: str) -> None:
    """Axes, title and legend of such curves."""
    axes.set_xlabel("radius ρ")
    axes.set_ylabel("certified overlap that 60 % of images reach")
    axes.set_ylim(bottom=-0.02, top=1)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def finish_over_values(axes: Axes, values: Sequence[float], label: str, title: str, *, base: int = 10) -> None:
    """A logarithmic axis with a tick at every value."""
    axes.set_xscale("log", base=base)
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
