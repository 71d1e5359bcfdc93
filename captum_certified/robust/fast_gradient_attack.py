"""An attack on explanations that takes one step along the gradient of the objective."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from captum_certified._captum import MethodArguments, Target
from captum_certified.robust.attacked_explanation import AttackedExplanation
from captum_certified.robust.base import AttackArguments, ExplanationAttack, checked_seed, perturb_by
from captum_certified.robust.interpretation_attack import GradientAscent
from captum_certified.robust.objectives import Reference
from captum_certified.robust.random_starts import CleanStarts
from captum_certified.robust.result import AttackResult
from captum_certified.robust.threat_models import Ball

__all__ = ["FastGradientAttack"]

_WITHOUT_A_STEP = {
    "random": "which takes no gradient",
    "mass_center": "whose gradient is zero at the input",
    "sensitivity": "whose gradient is zero at the input",
}


class FastGradientAttack(ExplanationAttack):
    """A one-step attack: from the input to the border of the ball, along the gradient of the objective.

    With ``norm="Linf"`` the step is that of the fast gradient sign method (FGSM): every entry moves by the radius, in
    the direction of the sign of the gradient. With ``norm="L2"`` the step is the gradient scaled to the radius. A step
    that would change the predicted class is halved, at most ten times, as in :class:`InterpretationAttack`. The result
    is the better of the input and the point reached, so ``succeeded`` of :class:`AttackResult` is always true.

    The attack costs one gradient. It is the cheapest attack of this package that searches, and a weak one:
    :class:`InterpretationAttack` shows how much of a map can be moved.

    The arguments are the same as in :class:`InterpretationAttack`, but the ``objective`` cannot be ``"random"``,
    ``"mass_center"`` or ``"sensitivity"``.

    Raises:
        InvalidInputError: An argument is not what was expected, or the map cannot be differentiated.

    Source:
        Goodfellow, Shlens and Szegedy (2015) attack predictions in this way.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified.robust import FastGradientAttack
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 16)
        >>> result = FastGradientAttack(model, Saliency(model)).attack(images, radius=0.5, k=4, seed=0)
        >>> bool(((result.perturbed - images).norm(dim=1) <= 0.5).all()), result.queries.tolist()
        (True, [2, 2])
    """

    refused_objectives: ClassVar[Mapping[str, str]] = {
        name: f"Expected an `objective` to step along, got {name!r}, {reason}; InterpretationAttack has it."
        for name, reason in _WITHOUT_A_STEP.items()
    }

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        target: Target = None,
        additional_forward_args: object = None,
        attribution_kwargs: MethodArguments | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanation of every example of a batch separately.

        The arguments are the same as in :meth:`InterpretationAttack.attack`.

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
            step_num=1,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=checked_seed(seed),
            show_progress=show_progress,
        )

        def search_of(explanation: AttackedExplanation, ball: Ball) -> GradientAscent:
            return GradientAscent(CleanStarts(explanation, ball, keep_class=keep_class))

        return self._run(arguments, search_of)

    perturb = perturb_by(attack)
