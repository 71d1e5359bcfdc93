"""How far perturbations of digits change saliency maps: by attack, by sampling, and after transfer to another map."""

from collections.abc import Callable
from statistics import fmean, median
from typing import NamedTuple

import torch
from captum.attr import Attribution, IntegratedGradients, Saliency
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from captum_certified import AttackResult, InterpretationAttack, local_lipschitz, top_k_intersection
from captum_certified._captum import as_tuple
from captum_certified.reproduce.experiment import Row
from captum_certified.reproduce.mnist_networks import K
from captum_certified.reproduce.networks_and_images import PIXEL_RANGE

__all__ = ["FEW", "SEED", "AttackSteps", "robustness_of", "sensitivities"]

FEW = 10  # the default number of samples of captum.metrics.sensitivity_max
SEED = 0  # of attacks and samples
_PATH_POINTS = 16  # of integrated gradients
_AT_ONCE = 2000  # perturbed images in a pass of sensitivity_max


class AttackSteps(NamedTuple):
    """The steps and the random starts of the two attacks, and the number of samples beside the second."""

    steps: int  # P, of the attack on the top quarter
    restarts: int  # T, of the attack on the top quarter
    sensitivity_steps: int
    sensitivity_restarts: int
    samples: int


def robustness_of(model: nn.Module, images: Tensor, epsilon: float, attacks: AttackSteps) -> Row:
    """Return means over the images of what perturbations within the L∞ radius ε do to the maps of a network.

    Args:
        model: Trained network with frozen parameters.
        images: Digits of shape (N, 1, 28, 28).
        epsilon: L∞ radius, in units of the pixel range.
        attacks: The sizes of the attacks.

    Returns:
        - ``overlap``: overlap of the top quarter of the saliency map that the attack on this overlap leaves. The
          attack keeps the predicted class, and ``succeeded`` is the fraction of images on which it found a point.
        - ``transferred``: overlap of the top quarter of integrated gradients at the same perturbed images.
        - ``sampled_few``, ``sampled``, ``attacked``: the largest relative change of the saliency map that sampling
          and the attack find, as :func:`sensitivities` does.
        - ``ratio``, ``lowest_ratio``: median and minimum over the images of ``attacked`` divided by ``sampled``.
        - ``lipschitz``: the change of the map divided by that of the image, in L2 norms, at the attacked images.
    """
    targets = model(images).argmax(dim=1)
    result = _attack(model, images, epsilon, targets, attacks.steps, attacks.restarts, "top_k")
    [perturbed] = as_tuple(result.perturbed)
    integrated = [_map_of(IntegratedGradients(model), x, targets, n_steps=_PATH_POINTS) for x in (images, perturbed)]
    found = sensitivities(model, images, epsilon, attacks)
    ratios = (found.attacked / found.sampled).tolist()
    return {
        "overlap": result.mean_overlap_fraction,
        "succeeded": float(result.succeeded.double().mean()),
        "transferred": float(top_k_intersection(*integrated, k=K).double().mean()),
        "sampled_few": fmean(found.sampled_few.tolist()),
        "sampled": fmean(found.sampled.tolist()),
        "attacked": fmean(found.attacked.tolist()),
        "ratio": median(ratios),
        "lowest_ratio": min(ratios),
        "lipschitz": fmean(found.lipschitz.tolist()),
    }


class Sensitivities(NamedTuple):
    """The largest change of each map that sampling and an attack find, relative to the norm of the clean map."""

    sampled_few: Tensor
    sampled: Tensor
    attacked: Tensor
    lipschitz: Tensor  # of the attacked images


def sensitivities(model: nn.Module, images: Tensor, epsilon: float, attacks: AttackSteps) -> Sensitivities:
    """Return SENS-MAX of the saliency maps by Captum's sampling, and by the attack with the objective of SENS-MAX.

    Both search the L∞ ball of radius ε around each image, within the pixel range. Both explain the class predicted at
    the clean image, and neither keeps it. The samples are uniform in the ball, as Captum draws them.
    """
    targets = model(images).argmax(dim=1)
    restarts, steps = attacks.sensitivity_restarts, attacks.sensitivity_steps
    result = _attack(model, images, epsilon, targets, steps, restarts, "sensitivity")
    [perturbed] = as_tuple(result.perturbed)
    method = Saliency(model)
    clean, changed = (_map_of(method, x, targets) for x in (images, perturbed))
    few, many = (
        sensitivity_max(
            lambda x, target: (_map_of(method, as_tuple(x)[0], target),),
            images,
            _uniform(),
            epsilon,
            n_perturb_samples=samples,
            max_examples_per_batch=min(samples, max(1, _AT_ONCE // len(images))) * len(images),
            target=targets,
        )
        for samples in (FEW, attacks.samples)
    )
    norms = clean.flatten(1).norm(dim=1)
    changes = (changed - clean).flatten(1).norm(dim=1)
    attacked = changes / torch.where(norms > 0, norms, torch.ones_like(norms))
    return Sensitivities(few, many, attacked, local_lipschitz(clean, changed, images, perturbed))


def _attack(
    model: nn.Module, images: Tensor, epsilon: float, targets: Tensor, steps: int, restarts: int, objective: str
) -> AttackResult:
    """Attack saliency maps within an L∞ radius. Only the attack on the top quarter keeps the class."""
    attack = InterpretationAttack(
        model, Saliency(model), objective=objective, norm="Linf", surrogate_beta=None, **PIXEL_RANGE
    )
    return attack.attack(
        images,
        epsilon,
        k=K,
        step_num=steps,
        n_restarts=restarts,
        target=targets,
        keep_class=objective == "top_k",
        seed=SEED,
    )


def _map_of(method: Attribution, images: Tensor, targets: Tensor, **arguments: int) -> Tensor:
    explained: Tensor = method.attribute(images.clone().requires_grad_(), target=targets, **arguments)
    return explained.detach()


def _uniform() -> Callable[[Tensor, float], Tensor]:
    """Return a function that draws points of the L∞ ball, and moves pixels outside their range to its end."""
    generator = torch.Generator().manual_seed(SEED)

    def perturb(images: Tensor, radius: float) -> Tensor:
        noise = 2 * torch.rand(images.shape, generator=generator, dtype=images.dtype) - 1
        low, high = PIXEL_RANGE["lower_bound"], PIXEL_RANGE["upper_bound"]
        return (images + radius * noise).clamp(low, high)

    return perturb
