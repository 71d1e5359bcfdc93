"""The attack of Levine, Singla and Feizi on explanations (Algorithm 1), with additional objectives."""

from dataclasses import replace

import torch
from torch import Tensor

from captum_certified._captum import MethodArguments, Target
from captum_certified.checks import checked_integer
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.base import AttackArguments, ExplanationAttack, checked_seed, perturb_by
from captum_certified.robust.objectives import Reference
from captum_certified.robust.random_starts import RandomStarts, Starts
from captum_certified.robust.result import AttackResult
from captum_certified.robust.search import GradientSearch
from captum_certified.robust.threat_models import Ball

__all__ = ["GradientAscent", "InterpretationAttack"]

_HALVINGS = 10


class InterpretationAttack(ExplanationAttack):
    """Algorithm 1. An attack that changes the explanation as much as possible and keeps the predicted class.

    The attack is gradient ascent on an objective from several random starts. For the L2 norm the starts lie on the
    sphere of the given radius. Steps shrink, and a step that would change the predicted class is halved. The attack is
    a Captum perturbation: it works in :class:`captum.robust.AttackComparator`, in
    :class:`captum.robust.MinParamPerturbation` with ``arg_name="radius"``, and as ``perturb_func`` of
    :func:`captum.metrics.sensitivity_max` and :func:`~captum_certified.attribution_robustness`.

    The objectives are computed from the magnitudes of the map. For all but ``"sensitivity"``, these are scaled so that
    their sum is 1:

    - ``"top_k"``: move saliency out of the K most salient features (the paper).
    - ``"reference"``: move saliency out of the features that the mask ``reference`` marks. The overlap is then the
      number of these features in the top K at the perturbed input, as in a certificate with a ``reference``.
    - ``"mass_center"``: move the centre of mass of the map away from its clean position (Ghorbani et al., 2019).
    - ``"region"``: move saliency into the region that ``reference`` marks (Ghorbani et al., 2019).
    - ``"manipulate"``: make the map look like the one in ``reference`` (Dombrowski et al., 2019).
    - ``"sensitivity"``: move the map far in the L2 norm, relative to the norm of the clean map. This is the quantity
      of :func:`captum.metrics.sensitivity_max`, which looks for the largest value by sampling.
    - ``"random"``: no search; the result is the first random point that keeps the class.

    Args:
        forward_func: The model, which predicts the class.
        attribution_method: The explanation: Saliency, InputXGradient or IntegratedGradients, alone or smoothed by
            NoiseTunnel or a class of this package. The objective ``"random"`` accepts any Captum attribution.
        objective: Name of the objective, which the attack maximises.
        norm: ``"L2"`` or ``"Linf"``; the L2 norm is taken over all tensors of an example.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus that replaces ReLUs in the gradients of the search (the surrogate). Results
            are always measured on the network itself. Networks with ReLUs need a surrogate, because their saliency map
            is piecewise constant, so the gradient of the map is zero. ``"auto"`` uses β = 30 if the network has ReLUs,
            otherwise no surrogate. ``None`` uses no surrogate. ``AttackResult.surrogate`` says which surrogate was
            used.

    Raises:
        InvalidInputError: An argument is not what was expected, or the map cannot be differentiated.

    Source:
        Levine, Singla and Feizi (2019), Algorithm 1.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import InterpretationAttack
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> attack = InterpretationAttack(model, Saliency(model))
        >>> images = torch.rand(2, 16)
        >>> perturbed = attack.perturb(images, radius=0.5, k=4, seed=0)
        >>> bool(((perturbed - images).norm(dim=1) <= 0.5).all())
        True
    """

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 20,
        n_restarts: int = 5,
        n_draws: int = 100,
        target: Target = None,
        additional_forward_args: object = None,
        attribution_kwargs: MethodArguments | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanation of every example of a batch separately.

        Args:
            inputs: Tensor of shape (N, …) within the bounds, or a tuple of tensors. Integer tensors are not perturbed.
            radius: ρ ≥ 0, in the units of the inputs; 0 returns the inputs.
            k: Number of features in the top K: an int is a count, a float a fraction of the features, rounded up.
            step_num: P, the number of steps from each start.
            n_restarts: T, the number of starts.
            n_draws: Q, the largest number of random points that are tried for each example, over all restarts, to find
                starts that keep the class.
            target: Class to explain, as in Captum. ``None`` explains the class predicted at the clean input.
            additional_forward_args: Further arguments of the model.
            attribution_kwargs: Further arguments of the attribution's ``attribute``, such as ``n_steps``, or
                ``nt_samples`` and ``stdevs`` of a smoothed attribution. All maps are measured under one seed: the
                ``seed`` in these arguments, or by default a seed derived from the argument ``seed`` below. Gradients of
                a smoothed attribution are taken over fresh draws in every step.
            reference: Mask for the objectives ``"reference"`` and ``"region"``, or map for ``"manipulate"``, with first
                dimension 1 or N.
            keep_class: Whether the predicted class must stay the same. This has no effect if the output of the model
                is not of shape (N, classes).
            seed: Seed of everything random; ``None`` draws a fresh one. The global generators are untouched.
            show_progress: Show a progress bar on stderr.

        Returns:
            Perturbed inputs, overlap with the clean top K, and the examples on which the attack succeeded.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The map at the clean input is not finite.
        """
        arguments = AttackArguments(
            inputs=inputs,
            radius=radius,
            k=k,
            step_num=step_num,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=checked_seed(seed),
            show_progress=show_progress,
        )
        n_restarts = checked_integer("n_restarts", n_restarts, at_least=1)
        n_draws = checked_integer("n_draws", n_draws, at_least=1)
        if self.objective == "random":  # the first random start is the result
            arguments, n_restarts = replace(arguments, step_num=0, show_progress=False), 1

        def search_of(explanation: AttackedExplanation, ball: Ball) -> GradientAscent:
            starts = RandomStarts(explanation, ball, seed=arguments.seed, n_draws=n_draws, keep_class=keep_class)
            return GradientAscent(starts)

        return self._run(arguments, search_of, n_restarts=n_restarts)

    perturb = perturb_by(attack)


class GradientAscent(GradientSearch):
    """The search of Algorithm 1: gradient ascent. Steps shrink, and are halved to keep the class.

    Args:
        starts: The starts. They also know the explanation and the ball. Those of Algorithm 1 are random.
    """

    def __init__(self, starts: Starts) -> None:
        super().__init__(starts.explanation, starts.ball, keep_class=starts.keep_class)
        self.starts = starts
        self.sizes = torch.zeros(0)

    def start(self) -> tuple[Tensor, Tensor]:
        """Return the next starts."""
        points, rows = self.starts.next()
        self.sizes = torch.zeros((len(rows), 1), dtype=torch.float64, device=points.device)
        return points, rows

    def step(self, points: Tensor, gradient: Tensor, rows: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Move points along the gradient. A point does not move if even the smallest step would change its class."""
        # For L2 the first step size is α = ρ/‖∇D(x)‖, where x is the first point whose gradient is not zero.
        self.sizes = torch.where(self.sizes == 0, self.ball.first_step_size(gradient), self.sizes)
        moved = self._moved(points, self.ball.direction(gradient), rows)
        self.sizes = self.sizes * (number / (number + 1))
        return moved, torch.ones(len(rows), dtype=torch.bool, device="cpu")

    def _moved(self, points: Tensor, direction: Tensor, rows: Tensor) -> Tensor:
        """Return the moved points. A step that would change the class is halved, at most ten times."""
        centers = self.explanation.centers[rows.to(points.device)]
        moved = self.ball.project(points.double() + self.sizes * direction, centers)
        if not self.keep_class:
            return moved
        lost = torch.nonzero(~self.explanation.keeps_class(moved, rows)).squeeze(1).to(points.device)
        for _ in range(_HALVINGS):
            if not len(lost):
                return moved
            self.sizes[lost] /= 2
            moved[lost] = self.ball.project(points[lost].double() + self.sizes[lost] * direction[lost], centers[lost])
            kept = self.explanation.keeps_class(moved[lost], rows[lost.cpu()])
            lost = lost[~kept.to(lost.device)]
        moved[lost] = points[lost]
        return moved
