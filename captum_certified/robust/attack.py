"""The L2 attack on explanations of Levine, Singla and Feizi: Algorithm 1, and other objectives for it."""

from collections.abc import Callable, Mapping
from typing import Any

from captum.attr import Attribution
from captum.robust import Perturbation
from torch import Tensor

from captum_certified._captum import log_usage, progress_bar
from captum_certified.checks import checked_flag, checked_integer
from captum_certified.robust.base import AttackSpace, checked_seed
from captum_certified.robust.objectives import Reference
from captum_certified.robust.result import AttackResult, result_of
from captum_certified.robust.search import Best, RandomStarts, algorithm_1, first_start
from captum_certified.robust.surrogate import AUTO, SurrogateBeta

__all__ = ["InterpretationAttack"]


class InterpretationAttack(Perturbation):
    """Algorithm 1. Searches a small perturbation that changes the explanation most while the prediction stays.

    Ascent on an objective from several random starts on the sphere, with steps that
    shrink, and are halved where they would change the predicted class. It is a Captum perturbation: it works in
    :class:`captum.robust.AttackComparator`, in :class:`captum.robust.MinParamPerturbation` with
    ``arg_name="radius"``, and as ``perturb_func`` of :func:`captum.metrics.sensitivity_max` and
    :func:`~captum_certified.attribution_robustness`.

    Objectives, on magnitudes of the map scaled to sum 1:

    - ``"top_k"``: move saliency out of the K most salient features (the paper).
    - ``"mass_center"``: move the centre of mass away (Ghorbani et al., 2019).
    - ``"region"``: move saliency into the region that ``reference`` marks (Ghorbani et al., 2019).
    - ``"manipulate"``: make the map look like the one in ``reference`` (Dombrowski et al., 2019).
    - ``"random"``: no search; the first random point that keeps the class.

    Args:
        forward_func: The model, which says which class is predicted.
        attribution_method: The explanation: Saliency, InputXGradient, IntegratedGradients, or one of them smoothed by
            NoiseTunnel or a class of this package. ``"random"`` takes any Captum attribution.
        objective: What is driven up.
        norm: ``"L2"`` or ``"Linf"``; the L2 norm is taken over all tensors of an example.
        lower_bound: Smallest value of an input.
        upper_bound: Largest value of an input.
        surrogate_beta: β of the softplus surrogate whose gradients guide the search; results are always measured on
            the network itself. The saliency map of a ReLU network is piecewise constant, so its own gradient is zero.
            ``"auto"``: β = 30 where the network has ReLUs, none elsewhere; ``None``: none. The result says which it
            was: ``AttackResult.surrogate``.

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

    def __init__(
        self,
        forward_func: Callable[..., Any],
        attribution_method: Attribution,
        *,
        objective: str = "top_k",
        norm: str = "L2",
        lower_bound: float = float("-inf"),
        upper_bound: float = float("inf"),
        surrogate_beta: SurrogateBeta = AUTO,
    ) -> None:
        super().__init__()
        self.space = AttackSpace(
            forward_func=forward_func,
            attribution_method=attribution_method,
            objective=objective,
            norm=norm,
            lower_bound=lower_bound,
            upper_bound=upper_bound,
            surrogate_beta=surrogate_beta,
        )

    @log_usage
    def perturb(
        self,
        inputs: Any,
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 20,
        n_restarts: int = 5,
        n_draws: int = 100,
        target: Any = None,
        additional_forward_args: Any = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> Any:
        """The perturbed inputs; see :meth:`attack` for the arguments.

        Returns:
            Structured like ``inputs``; the input itself for an example whose class no start kept.
        """
        result = self.attack(
            inputs,
            radius,
            k=k,
            step_num=step_num,
            n_restarts=n_restarts,
            n_draws=n_draws,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            keep_class=keep_class,
            seed=seed,
            show_progress=show_progress,
        )
        return result.perturbed

    def attack(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        radius: float,
        *,
        k: float = 0.2,
        step_num: int = 20,
        n_restarts: int = 5,
        n_draws: int = 100,
        target: Any = None,
        additional_forward_args: Any = None,
        attribution_kwargs: Mapping[str, Any] | None = None,
        reference: Reference = None,
        keep_class: bool = True,
        seed: int | None = None,
        show_progress: bool = False,
    ) -> AttackResult:
        """Attack the explanations of a batch, every example on its own.

        Args:
            inputs: Tensor of shape (N, …) within the bounds, or a tuple of them; integer tensors are held fixed.
            radius: ρ ≥ 0, in the units of the inputs; 0 returns the inputs.
            k: Size of the top set: an int is a count, a float a fraction of the features, rounded up.
            step_num: P, the steps from each start.
            n_restarts: T, the number of starts.
            n_draws: Q, the random points that may be drawn in search of starts that keep the class, for each
                example over all restarts.
            target: Class explained, as in Captum; ``None``: the class predicted at the clean input.
            additional_forward_args: Further arguments of the model.
            attribution_kwargs: Further arguments of the attribution's ``attribute``, such as ``n_steps``, or
                ``nt_samples`` and ``stdevs`` of a smoothed one. Unless they hold a ``seed``, all maps are measured
                under one seed derived from ``seed``; gradients are taken over fresh draws in every step.
            reference: The region or map of the objectives that have one, first dimension 1 or N.
            keep_class: Whether the predicted class must stay. Models whose output is not of shape (N, classes) have
                none to keep.
            seed: Seed of everything random; ``None`` draws a fresh one. The global generators are untouched.
            show_progress: Show a progress bar on stderr.

        Returns:
            Perturbed inputs, overlap with the clean top K, and which examples the attack succeeded on.

        Raises:
            InvalidInputError: An argument is not what was expected.
            CertificationError: The map at the clean input is not finite.
        """
        seed = checked_seed(seed)
        keep_class = checked_flag("keep_class", keep_class)
        step_num = checked_integer("step_num", step_num)
        n_restarts = checked_integer("n_restarts", n_restarts, at_least=1)
        n_draws = checked_integer("n_draws", n_draws, at_least=1)
        ball = self.space.ball(radius)
        explanation = self.space.explanation(
            inputs,
            k=k,
            target=target,
            additional_forward_args=additional_forward_args,
            attribution_kwargs=attribution_kwargs,
            reference=reference,
            seed=seed,
        )
        starts = RandomStarts(explanation, ball, seed=seed, n_draws=n_draws, keep_class=keep_class)
        if radius == 0:
            return result_of(explanation, Best.of_inputs(explanation))
        if self.space.objective == "random":
            return result_of(explanation, first_start(starts))
        with progress_bar(total=step_num * n_restarts, description="attacking", show=show_progress) as bar:
            best = algorithm_1(starts, step_num=step_num, n_restarts=n_restarts, on_step=lambda: bar.update(1))
        return result_of(explanation, best)
