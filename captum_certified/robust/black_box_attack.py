"""An attack on explanations that only asks for explanations and predicted classes, and takes no gradients."""

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_certified._captum import MethodArguments, Target
from captum_certified.checks import checked_integer
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.base import AttackArguments, ExplanationAttack, checked_seed, perturb_by
from captum_certified.robust.objectives import Reference
from captum_certified.robust.random_starts import seeds_of_rows
from captum_certified.robust.result import AttackResult
from captum_certified.robust.search import BestPoints, Search
from captum_certified.robust.threat_models import Ball

__all__ = ["BlackBoxAttack", "RandomSearch"]

# The one-fifth success rule: the size of the moves does not change on average if one move in five is a success.
_GROWTH = 1.5
_SHRINKAGE = _GROWTH ** (-1 / 4)


class BlackBoxAttack(ExplanationAttack):
    """A black-box attack, which only queries the explanation and the predicted class. Its queries are counted.

    A query is one perturbed input, of which the attack sees the map and the predicted class. The attack is a random
    search: it moves the best point so far in a random direction, projects it to the ball, and keeps the new point
    unless the objective is smaller there or the class has changed. Moves grow after a success and shrink after a
    failure. The input itself is the first query, so ``succeeded`` of :class:`AttackResult` is always true. ``queries``
    says how many queries each example took.

    The attack needs no gradient of the map, so it accepts any Captum attribution, and networks whose ReLUs cannot be
    replaced by a surrogate. Where a gradient exists, :class:`InterpretationAttack` needs far fewer computations.

    Args:
        forward_func: The model, which predicts the class.
        attribution_method: The explanation: any Captum attribution, alone or smoothed.
        objective: Name of the objective, as in :class:`InterpretationAttack`, except ``"random"``.
        norm: ``"L2"`` or ``"Linf"``; the L2 norm is taken over all tensors of an example.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.

    Raises:
        InvalidInputError: An argument is not what was expected.

    Source:
        Ilyas et al. (2018) and Andriushchenko et al. (2020) attack predictions within a limited number of queries, the
        latter by random search.

    Example:
        >>> import torch
        >>> from captum.attr import Occlusion
        >>> from captum_certified.robust import BlackBoxAttack
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> attack = BlackBoxAttack(model, Occlusion(model))
        >>> result = attack.attack(
        ...     torch.rand(2, 16), 0.5, k=4, n_queries=50, attribution_kwargs={"sliding_window_shapes": (1,)}, seed=0
        ... )
        >>> result.queries.tolist()
        [50, 50]
    """

    takes_gradients = False
    refused_objectives: ClassVar[Mapping[str, str]] = {
        "random": "Expected an `objective` to search by, got 'random'; InterpretationAttack has it.",
    }

    def __init__(
        self,
        forward_func: Callable[..., Tensor],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        norm: str = "L2",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
    ) -> None:
        super().__init__(
            forward_func,
            attribution_method,
            objective=objective,
            norm=norm,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            surrogate_beta=None,
        )

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        n_queries: int = 1000,
        target: Target = None,
        additional_forward_args: object = None,
        attribution_kwargs: MethodArguments | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanation of every example of a batch separately.

        The arguments are the same as in :meth:`InterpretationAttack.attack`, and one of its own:

        - ``n_queries``: Number of queries for each example, at least 1. The first is the input itself. A query of a
          smoothed explanation computes all its draws, which are the same in every query.

        Returns:
            Perturbed inputs, overlap with the clean top K, and the number of queries.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The map at the clean input is not finite.
        """
        arguments = AttackArguments(
            inputs=inputs,
            radius=radius,
            k=k,
            step_num=checked_integer("n_queries", n_queries, at_least=1),
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=checked_seed(seed),
            show_progress=show_progress,
        )

        def search_of(explanation: AttackedExplanation, ball: Ball) -> RandomSearch:
            return RandomSearch(explanation, ball, keep_class=keep_class, seed=arguments.seed)

        return self._run(arguments, search_of)

    perturb = perturb_by(attack)


class RandomSearch(Search):
    """A random search: move the best point so far, and keep the move unless it decreases D.

    The first moves have the size of the radius. After an increase a move is 1.5 times as large, up to the radius; four
    decreases undo one increase (the one-fifth success rule of evolution strategies). Moves that do not change D are
    taken, because the D of a map with few draws of 0 and 1 is constant around most points.

    Args:
        explanation: The explanation under attack.
        ball: The ball that points are projected to.
        keep_class: Whether the result must keep the predicted class.
        seed: Seed of the moves.
    """

    def __init__(self, explanation: AttackedExplanation, ball: Ball, *, keep_class: bool, seed: int) -> None:
        super().__init__(explanation, ball, keep_class=keep_class)
        self.seeds = seeds_of_rows(explanation.centers, seed)

    def run(self, *, step_num: int, n_restarts: int = 1, on_step: Callable[[], None] = lambda: None) -> BestPoints:
        """Search from the inputs. A step is a query, and the first one is the input itself.

        A restart goes on from the best point, with moves of the size of the radius.
        """
        centers, rows = self.explanation.centers, self.explanation.all_rows
        best = BestPoints(centers)
        current, level = centers.clone(), torch.full((len(rows),), -torch.inf, dtype=torch.float64, device="cpu")
        sizes = torch.ones(len(rows), 1, dtype=torch.float64, device="cpu")
        for number in range(step_num * n_restarts):
            if number % step_num == 0:
                current, level, sizes = best.points.clone(), best.values.clone(), torch.ones_like(sizes)
            points = self._moved(current, sizes, number) if number > 0 else centers
            values = self._values(points)
            best.offer(points, values, rows)
            change = torch.sign(values - level).nan_to_num().unsqueeze(1)
            sizes = (sizes * torch.where(change > 0, _GROWTH, torch.where(change < 0, _SHRINKAGE, 1.0))).clamp_max(1.0)
            kept = values >= level
            current[kept.to(current.device)], level[kept] = points[kept.to(points.device)], values[kept]
            on_step()
        return best

    def _moved(self, points: Tensor, sizes: Tensor, draw: int) -> Tensor:
        """Move points in random directions. ``sizes`` are fractions of the radius, shape (N, 1)."""
        offsets = [self.ball.random_offset(seed, draw, one) for seed, one in zip(self.seeds, points, strict=True)]
        return self.ball.project(
            points.double() + sizes.to(points.device) * torch.stack(offsets), self.explanation.centers
        )

    def _values(self, points: Tensor) -> Tensor:
        """Return D, shape (N,), and −∞ at points that change the class although it must be kept."""
        values = self.explanation.values(points, self.explanation.all_rows)
        if not self.keep_class:
            return values
        kept = self.explanation.keeps_class(points, self.explanation.all_rows)
        return torch.where(kept, values, torch.full_like(values, -torch.inf))
