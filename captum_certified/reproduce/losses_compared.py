"""What experiments that compare training losses share: an attack on integrated gradients, summary and figure."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from captum.attr import Attribution, IntegratedGradients
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_certified import GhorbaniAttack, kendall_tau, top_k_intersection
from captum_certified.reproduce.experiment import Row, mean, number, numbers, where
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE
from captum_certified.storage import JsonObject
from captum_certified.visualization.colours import BESIDE, KINDS

__all__ = ["integrated_gradients_under_attack", "losses_figure", "part_name", "summary_over_seeds"]

_ATTACK_STEPS = 10  # steps of the integral inside the attack
_STEPS = 50  # steps of the integral in the maps that are compared


def integrated_gradients_under_attack(
    model: nn.Module, images: Tensor, *, radius: float, k: int, step_num: int, step_size: float
) -> tuple[float, float]:
    """Return the means of IN and CC of integrated gradients under the top-k attack of Ghorbani et al. in L∞.

    As in Chen et al., IN is the top-k intersection, and CC is Kendall's rank correlation.
    """
    method: Attribution = IntegratedGradients(model)
    targets = model(images).argmax(dim=1)
    perturbed = GhorbaniAttack(model, method, norm="Linf", surrogate_beta=None, **PIXEL_RANGE).perturb(
        images,
        radius,
        k=k,
        step_num=step_num,
        step_size=step_size,
        target=targets,
        attribution_kwargs={"n_steps": _ATTACK_STEPS},
        seed=0,
    )
    before, after = (method.attribute(x, target=targets, n_steps=_STEPS).detach().abs() for x in (images, perturbed))
    intersections = top_k_intersection(before, after, k=k)
    return float(intersections.double().mean()), float(kendall_tau(before, after).double().mean())


def summary_over_seeds(
    rows: Sequence[Row], losses: Sequence[str], measures: Sequence[str], *, plain: str
) -> dict[str, JsonObject]:
    """Return the mean and range of every measure over the seeds, and the mean change from training with ``plain``."""
    reference = {row["seed"]: row for row in where(rows, loss=plain)}

    def over_seeds(own: Sequence[Row], measure: str) -> dict[str, float]:
        values = numbers(own, measure)
        changes = [number(row, measure) - number(reference[row["seed"]], measure) for row in own]
        return {"mean": fmean(values), "lowest": min(values), "highest": max(values), "change": fmean(changes)}

    return {name: {measure: over_seeds(where(rows, loss=name), measure) for measure in measures} for name in losses}


def losses_figure(rows: Sequence[Row], measures: Mapping[str, str], *, plain: str, highlighted: str) -> Figure:
    """Plot a panel for each measure, with a dot for each network and a line at the mean of training with ``plain``.

    Args:
        rows: A row for each network, with its loss.
        measures: Columns, and the labels of their panels.
        plain: The loss at whose mean a line is drawn.
        highlighted: The losses whose names begin with this have another colour.
    """
    columns = 3 if len(measures) > 4 else 2
    figure = Figure(figsize=(3.0 * columns, 7.0), layout="constrained")
    panels = figure.subplots(2, columns, sharey=True).flatten()
    names = list(dict.fromkeys(str(row["loss"]) for row in rows))
    for unused in panels[len(measures) :]:
        unused.set_axis_off()
    for axes, (measure, label) in zip(panels, measures.items(), strict=False):
        axes.axvline(mean(where(rows, loss=plain), measure), color=BESIDE, linewidth=1, linestyle=":")
        for row in rows:
            name = str(row["loss"])
            color = KINDS[0] if name.startswith(highlighted) else BESIDE
            axes.plot(number(row, measure), names.index(name), "o", color=color, alpha=0.7)
        axes.set_xlabel(label.replace(", ", ",\n", 1), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    figure.suptitle(f"a dot for each network; dotted: mean of {plain} training", fontsize=10)
    return figure


def part_name(loss: str, seed: int) -> str:
    """Return the name under which the network of a loss and a seed is stored."""
    letters = "".join(letter if letter.isalnum() else "-" for letter in loss.lower()).strip("-")
    return f"{letters}-{seed}"
