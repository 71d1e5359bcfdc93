"""Beyond the paper: Wang et al. (2020) on MNIST: robustness of saliency against accuracy, over losses and weights."""

import functools
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from captum_certified.reproduce.experiment import Experiment, Part, Row, Scale, distinct, numbers, where
from captum_certified.reproduce.local_robustness import FEW, SEED, AttackSteps, robustness_of
from captum_certified.reproduce.mnist_networks import (
    Schedule,
    accuracy,
    fixed_settings,
    plain_loss,
    trained_network,
)
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE, Material
from captum_certified.storage import Json, JsonObject
from captum_certified.training import (
    AdversarialLoss,
    CurvatureLoss,
    SmoothSurfaceLoss,
    SpectralNormLoss,
    TrainingLoss,
    top_hessian_eigenvalue,
)
from captum_certified.visualization.colours import BESIDE, KINDS

__all__ = ["SmoothedGeometry"]

PLAIN = "plain"


class _Family(NamedTuple):
    """A loss with the weights λ of its penalty. The weight of adversarial training is its L∞ radius."""

    loss: Callable[[float, int], TrainingLoss]
    weights: tuple[float, ...]


_FAMILIES: Mapping[str, _Family] = {
    PLAIN: _Family(lambda weight, seed: plain_loss(seed), (0.0,)),  # noqa: ARG005
    "spectral norm": _Family(lambda weight, seed: SpectralNormLoss(weight=weight, seed=seed), (0.01, 0.05, 0.25)),
    "curvature": _Family(lambda weight, seed: CurvatureLoss(weight=weight, step=1.5, seed=seed), (0.1, 0.5, 2.5)),
    "smooth surface": _Family(lambda weight, seed: SmoothSurfaceLoss(weight=weight, seed=seed), (0.1, 0.5, 2.5)),
    "adversarial": _Family(
        lambda weight, seed: AdversarialLoss(radius=weight, norm="Linf", step_num=3, **PIXEL_RANGE, seed=seed),
        (0.1, 0.2),
    ),
}
_COLORS = ("black", *KINDS[:4])
_MEASURES = (
    "overlap",
    "succeeded",
    "transferred",
    "sampled_few",
    "sampled",
    "attacked",
    "ratio",
    "lowest_ratio",
    "lipschitz",
)
_CORRELATED = ("overlap", "transferred", "attacked", "lipschitz")


class _Size(NamedTuple):
    """The numbers of networks and of test images, the radii of the attacks, and the sizes of attacks and samples."""

    seeds: int  # networks for each loss and weight
    weights: int  # how many weights of each loss, beginning with the smallest
    tested: int  # images for the accuracy
    attacked: int  # images that are attacked, and images for the top eigenvalue
    epsilons: tuple[float, ...]  # L∞ radii
    attacks: AttackSteps
    schedule: Schedule


_SMALLEST = _Size(
    seeds=1,
    weights=1,
    tested=100,
    attacked=4,
    epsilons=(0.1,),
    attacks=AttackSteps(steps=2, restarts=1, sensitivity_steps=4, sensitivity_restarts=1, samples=8),
    schedule=Schedule(first_images=256, first_epochs=1, images=128, epochs=1),
)
_SIZES: Mapping[Scale, _Size] = {
    "smoke": _SMALLEST,
    "dry": _SMALLEST,
    "cpu": _Size(
        seeds=3,
        weights=3,
        tested=10000,
        attacked=32,
        epsilons=(0.1, 0.2, 0.3),
        attacks=AttackSteps(steps=10, restarts=2, sensitivity_steps=8, sensitivity_restarts=8, samples=100),
        schedule=Schedule(first_images=60000, first_epochs=3, images=6000, epochs=2),
    ),
    "paper": _Size(
        seeds=5,
        weights=3,
        tested=10000,
        attacked=1000,
        epsilons=(0.1, 0.2, 0.3),
        attacks=AttackSteps(steps=20, restarts=5, sensitivity_steps=20, sensitivity_restarts=20, samples=1000),
        schedule=Schedule(first_images=60000, first_epochs=10, images=60000, epochs=4),
    ),
}


class SmoothedGeometry(Experiment):
    """Beyond the paper: whether smoother decision surfaces have saliency maps that are harder to attack.

    The page ``docs/results/geometry.md`` has the protocol, which was written before the run.
    """

    name = "geometry"
    uses = ("mnist",)
    title = "Robustness of saliency maps against accuracy, for losses that smooth the decision surface, on MNIST"
    claim = "Ours: a heavier penalty lowers λ_max and raises the overlap under attack, at a cost in accuracy."

    def settings(self, scale: Scale) -> JsonObject:
        """Return the sizes, the losses, and the settings of the training."""
        size = _SIZES[scale]
        sizes = {name: value for name, value in size._asdict().items() if name not in ("attacks", "schedule")}
        losses = {_label(name, weight): repr(_FAMILIES[name].loss(weight, 0)) for name, weight in _networks(size)}
        return {
            **fixed_settings(scale, size.schedule),
            **size.attacks._asdict(),
            **sizes,
            "few_samples": FEW,
            "attack_seed": SEED,
            "losses": losses,
        }

    def parts(self, material: Material, scale: Scale) -> Sequence[Part]:
        """Return a part for each network, seed by seed, because the networks of a seed have the same beginning."""
        size = _SIZES[scale]
        return [
            Part(
                f"{name.replace(' ', '-')}-{weight:g}-{seed}",
                functools.partial(_rows, name, weight, seed, scale, material),
            )
            for seed in range(size.seeds)
            for name, weight in _networks(size)
        ]

    def summary(self, rows: Sequence[Row]) -> JsonObject:
        """Return mean and range of every measure over the seeds, for each loss and weight and at each radius.

        ``rank_correlation`` has Spearman's correlation of λ_max with the measures over all networks, and
        ``lowest_ratio`` the smallest ratio of the attack's SENS-MAX to that of sampling over all images and networks.
        """
        networks: dict[str, Json] = {}
        for label in dict.fromkeys(str(row["network"]) for row in rows):
            own = where(rows, network=label)
            at_radii = {
                f"ε = {epsilon:g}": {name: _over_seeds(where(own, epsilon=epsilon), name) for name in _MEASURES}
                for epsilon in distinct(own, "epsilon")
            }
            networks[label] = {**{name: _over_seeds(own, name) for name in ("accuracy", "eigenvalue")}, **at_radii}
        correlations = {
            f"ε = {epsilon:g}": {name: _rank_correlation(where(rows, epsilon=epsilon), name) for name in _CORRELATED}
            for epsilon in distinct(rows, "epsilon")
        }
        return {
            "networks": networks,
            "rank_correlation": correlations,
            "lowest_ratio": min(numbers(rows, "lowest_ratio")),
        }

    def figure(self, rows: Sequence[Row]) -> Figure:
        """Plot overlap over accuracy, and SENS-MAX by attack over SENS-MAX by sampling, with a column for each ε."""
        epsilons = distinct(rows, "epsilon")
        figure = Figure(figsize=(3.3 * len(epsilons) + 0.6, 6.8), layout="constrained")
        panels = figure.subplots(2, len(epsilons), sharey="row", squeeze=False)
        for column, epsilon in enumerate(epsilons):
            at_radius, (above, below) = where(rows, epsilon=epsilon), panels[:, column]
            above.set_title(f"ε = {epsilon:g}", fontsize=10)
            _draw_networks(above, at_radius, "accuracy", "overlap")
            above.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            above.locator_params(axis="x", nbins=5, integer=False)
            above.set_xlabel("accuracy")
            _draw_networks(below, at_radius, "sampled", "attacked")
            ends = [bound(numbers(at_radius, "sampled")) for bound in (min, max)]
            below.plot(ends, ends, ":", color=BESIDE, label="the attack finds no more")
            below.set_xlabel("SENS-MAX by sampling")
        panels[0, 0].set_ylabel("overlap left of the top quarter")
        panels[1, 0].set_ylabel("SENS-MAX by the attack")
        figure.suptitle(
            "a dot for each network, a diamond for the mean of the seeds, larger for more weight", fontsize=10
        )
        handles, labels = panels[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        return figure


def _networks(size: _Size) -> list[tuple[str, float]]:
    """Return names and weights of the losses."""
    return [(name, weight) for name, family in _FAMILIES.items() for weight in family.weights[: size.weights]]


def _label(name: str, weight: float) -> str:
    return name if name == PLAIN else f"{name}, {weight:g}"


def _rows(name: str, weight: float, seed: int, scale: Scale, material: Material) -> list[Row]:
    """Train a network, and attack it at every radius."""
    size = _SIZES[scale]
    model = trained_network(_FAMILIES[name].loss(weight, seed), seed, scale, material, schedule=size.schedule)
    images, classes = material.mnist(train=False)
    attacked = images[: size.attacked]
    about: Row = {
        "network": _label(name, weight),
        "loss": name,
        "weight": weight,
        "seed": seed,
        "accuracy": accuracy(model, images[: size.tested], classes[: size.tested]),
        "eigenvalue": float(top_hessian_eigenvalue(model, attacked).detach().mean()),
    }
    return [
        {**about, "epsilon": epsilon, **robustness_of(model, attacked, epsilon, size.attacks)}
        for epsilon in size.epsilons
    ]


def _over_seeds(rows: Sequence[Row], measure: str) -> dict[str, float]:
    values = numbers(rows, measure)
    return {"mean": fmean(values), "lowest": min(values), "highest": max(values)}


def _rank_correlation(rows: Sequence[Row], measure: str) -> float | None:
    """Return Spearman's correlation of λ_max with a measure, ``None`` if either is the same for all networks."""
    columns = [numbers(rows, name) for name in ("eigenvalue", measure)]
    if any(len(set(column)) == 1 for column in columns):
        return None
    return float(stats.spearmanr(*columns).statistic)


def _draw_networks(axes: Axes, rows: Sequence[Row], across: str, up: str) -> None:
    """Draw a faint dot for each network, and a line through the means over the seeds, from small to large weights."""
    for color, name in zip(_COLORS, _FAMILIES, strict=True):
        own = where(rows, loss=name)
        axes.plot(numbers(own, across), numbers(own, up), "o", color=color, alpha=0.35, markersize=4, markeredgewidth=0)
        ends = [where(own, weight=weight) for weight in distinct(own, "weight")]
        means = [[fmean(numbers(at, column)) for at in ends] for column in (across, up)]
        axes.plot(*means, "-", color=color, linewidth=1)
        for size, x, y in zip((5, 7, 9), *means, strict=False):
            # The plain networks are hollow, because their colour and that of the next loss are both dark.
            face, label = "white" if name == PLAIN else color, name if size == 5 else None
            axes.plot(x, y, "D", color=color, markerfacecolor=face, markersize=size, label=label)
    axes.spines[["top", "right"]].set_visible(False)
