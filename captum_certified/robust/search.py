"""Searches for the point of a ball where least is left of an explanation: Algorithm 1, sign steps, random points."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_certified.robust.explanation import AttackedExplanation
from captum_certified.robust.threat_models import Ball
from captum_certified.storage import digest

__all__ = ["Best", "RandomStarts", "algorithm_1", "first_start", "sign_steps"]

_HALVINGS = 10


@dataclass(eq=False, repr=False)
class Best:
    """The point of largest D so far, for every example; the input itself where there is none.

    Args:
        points: Shape (N, d).
    """

    points: Tensor
    values: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.points = self.points.clone()
        self.values = torch.full((len(self.points),), -torch.inf, dtype=torch.float64, device="cpu")

    @classmethod
    def of_inputs(cls, explanation: AttackedExplanation) -> "Best":
        """The inputs themselves, where nothing else is allowed."""
        best = cls(explanation.centers)
        rows = torch.arange(explanation.rows, device="cpu")
        best.offer(explanation.centers, explanation.values(explanation.centers, rows), rows)
        return best

    def offer(self, points: Tensor, values: Tensor, rows: Tensor) -> None:
        """Keep points of examples ``rows`` that are better than what there is."""
        better = values > self.values[rows]
        self.values[rows[better]] = values[better]
        self.points[rows[better].to(points.device)] = points[better.to(points.device)]

    @property
    def found(self) -> Tensor:
        """Which examples have one, shape (N,)."""
        return self.values > -torch.inf


class RandomStarts:
    """Random points of the ball that keep the class, from a number of draws for each example over all restarts.

    The points of an example depend on the seed, its input, and how many equal ones precede it in the batch: so they do
    not depend on the batch, and copies of one input are started apart.

    Args:
        explanation: The explanation under attack.
        ball: Where to draw.
        seed: Seed of the draws.
        n_draws: Q, the draws that each example may use.
        keep_class: Whether the class must be kept.
    """

    def __init__(
        self, explanation: AttackedExplanation, ball: Ball, *, seed: int, n_draws: int, keep_class: bool
    ) -> None:
        self.explanation = explanation
        self.ball = ball
        self.n_draws = n_draws
        self.keep_class = keep_class
        self.used = torch.zeros(explanation.rows, dtype=torch.int64, device="cpu")
        self.seeds = _seeds_of(explanation.centers, seed)

    def next(self) -> tuple[Tensor, Tensor]:
        """A start for every example that still finds one.

        Returns:
            Points of shape (R, d) and the R rows they belong to.
        """
        centers = self.explanation.centers
        points = centers.clone()
        missing = torch.arange(len(centers), device="cpu")
        found = torch.zeros(len(centers), dtype=torch.bool, device="cpu")
        while True:
            missing = missing[self.used[missing] < self.n_draws]
            if not len(missing):
                break
            drawn = torch.stack([self._draw(row) for row in missing.tolist()])
            self.used[missing] += 1
            kept = torch.ones(len(missing), dtype=torch.bool, device="cpu")
            if self.keep_class:
                kept = self.explanation.keeps_class(drawn, missing)
            points[missing[kept].to(points.device)] = drawn[kept.to(drawn.device)]
            found[missing[kept]] = True
            missing = missing[~kept]
        rows = torch.nonzero(found).squeeze(1)
        return points[rows.to(points.device)], rows

    def _draw(self, row: int) -> Tensor:
        center = self.explanation.centers[row : row + 1]
        offset = self.ball.start(self.seeds[row], int(self.used[row]), center)
        return self.ball.project(center.double() + offset, center)[0]


def first_start(starts: RandomStarts) -> Best:
    """The random baseline of Figure 6: the first random point that keeps the class."""
    best = Best(starts.explanation.centers)
    points, rows = starts.next()
    if len(rows):
        best.offer(points, starts.explanation.values(points, rows), rows)
    return best


def algorithm_1(
    starts: RandomStarts, *, step_num: int, n_restarts: int, on_step: Callable[[], object] = lambda: None
) -> Best:
    """The steps of Algorithm 1: ascent from random starts; a step that changes the class is halved until it keeps it.

    Args:
        starts: Random starts, with the explanation and the ball.
        step_num: P, steps of each restart.
        n_restarts: T, restarts.
        on_step: Called after every step.

    Returns:
        The largest D over all iterates of all restarts.
    """
    explanation, ball = starts.explanation, starts.ball
    best = Best(explanation.centers)
    for restart in range(n_restarts):
        points, rows = starts.next()
        if not len(rows):
            break
        centers = explanation.centers[rows.to(points.device)]
        best.offer(points, explanation.values(points, rows), rows)
        sizes = torch.zeros((len(rows), 1), dtype=torch.float64, device=points.device)
        for step in range(1, step_num + 1):
            gradient = explanation.gradients(points, rows, step=restart * step_num + step)
            if restart == 0 and step == 1:
                _warn_where_flat(explanation, gradient)
            # α = ρ/‖∇D(x₀)‖, or at the first point whose gradient is not zero.
            sizes = torch.where(sizes == 0, ball.first_step(gradient), sizes)
            points = _stepped(starts, points, centers, ball.direction(gradient), sizes, rows)
            best.offer(points, explanation.values(points, rows), rows)
            sizes = sizes * (step / (step + 1))
            on_step()
    return best


def _stepped(
    starts: RandomStarts, points: Tensor, centers: Tensor, direction: Tensor, sizes: Tensor, rows: Tensor
) -> Tensor:
    """Steps that keep the class, their sizes halved in place where they must be; else the points as they were."""
    moved = starts.ball.project(points.double() + sizes * direction, centers)
    if not starts.keep_class:
        return moved
    lost = torch.nonzero(~starts.explanation.keeps_class(moved, rows)).squeeze(1).to(points.device)
    for _ in range(_HALVINGS):
        if not len(lost):
            return moved
        sizes[lost] /= 2
        moved[lost] = starts.ball.project(points[lost].double() + sizes[lost] * direction[lost], centers[lost])
        kept = starts.explanation.keeps_class(moved[lost], rows[lost.cpu()])
        lost = lost[~kept.to(lost.device)]
    moved[lost] = points[lost]
    return moved


def sign_steps(
    explanation: AttackedExplanation,
    ball: Ball,
    *,
    step_size: float,
    step_num: int,
    keep_class: bool,
    seed: int,
    on_step: Callable[[], object] = lambda: None,
) -> Best:
    """The iterative attack of Ghorbani et al. (2019): steps along the sign of ∇D, from the input itself.

    Where D has no gradient at the input, as the distance from the clean map has none, the first step is random.
    Iterates that change the class are passed over, but the search goes on from them.

    Args:
        explanation: The explanation under attack.
        ball: What every iterate is projected to.
        step_size: What every entry moves in a step.
        step_num: Number of steps.
        keep_class: Whether the class must be kept.
        seed: Seed of random steps.
        on_step: Called after every step.

    Returns:
        The largest D over all iterates that keep the class; at least the input itself.
    """
    rows = torch.arange(explanation.rows, device="cpu")
    points, seeds = explanation.centers, _seeds_of(explanation.centers, seed)
    best = Best.of_inputs(explanation)
    for step in range(1, step_num + 1):
        direction = explanation.gradients(points, rows, step=step).sign()
        if step == 2:  # at the input itself some objectives have none
            _warn_where_flat(explanation, direction)
        if step == 1:
            for row in torch.nonzero(~direction.any(dim=1)).flatten().tolist():
                direction[row] = ball.start(seeds[row], 0, points[row]).sign()
        points = ball.project(points.double() + step_size * direction, explanation.centers)
        values = explanation.values(points, rows)
        if keep_class:
            lost = ~explanation.keeps_class(points, rows)
            values = torch.where(lost, torch.full_like(values, -torch.inf), values)
        best.offer(points, values, rows)
        on_step()
    return best


def _warn_where_flat(explanation: AttackedExplanation, gradient: Tensor) -> None:
    """Say that there is nothing to follow; a network of ReLUs without a surrogate is the usual reason."""
    if explanation.surrogate.beta is None and not bool(gradient.any()):
        way_out = (
            "Surrogates replace torch.nn.ReLU, torch.relu and their like in Python modules"
            if explanation.chooses_surrogate
            else "If the model has ReLUs, give `surrogate_beta`, for instance 'auto'"
        )
        warnings.warn(
            "The map has no gradient where the search begins, so it goes at random. The gradient's surrogate is "
            f"{explanation.surrogate}. {way_out}.",
            UserWarning,
            stacklevel=4,
        )


def _seeds_of(centers: Tensor, seed: int) -> list[int]:
    """A 63-bit seed for every row, by its content and how many equal rows precede it."""
    seen: dict[str, int] = {}
    seeds = []
    for row in centers:
        content = digest(row)
        seen[content] = seen.get(content, -1) + 1
        seeds.append(int(digest(seed, content, seen[content])[:16], 16) >> 1)
    return seeds
