"""The worst similarity between the explanation of an input and the explanations of perturbed copies of it."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_certified.attr.request import checked_inputs
from captum_certified.checks import checked_integer, checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.metrics.comparison import Comparison, Similarity
from captum_certified.metrics.explanation_pair import ExplanationPair
from captum_certified.metrics.pairs import Maps
from captum_certified.metrics.perturb_func import PerturbFunc

__all__ = ["attribution_robustness"]


def attribution_robustness(
    explanation_func: Callable[..., Maps],
    inputs: Maps,
    perturb_func: Callable[..., Maps],
    perturb_radius: float = 0.02,
    n_perturb_samples: int = 1,
    *,
    similarity: Similarity = "top_k",
    k: int | float = 0.2,
    max_examples_per_batch: int | None = None,
    seed: int | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return the worst similarity between the map of an input and the maps of perturbed copies of it.

    Like :func:`captum.metrics.sensitivity_max`, this function calls an explanation function and a perturbation
    function, and runs under ``torch.no_grad()``. The result is about the tried perturbations only. A certificate, in
    contrast, is about every perturbation within its radius.

    Args:
        explanation_func: Returns maps, given inputs and ``kwargs``, such as the ``attribute`` of any Captum method. The
            maps are a tensor of shape (N, …) or a tuple of tensors.
        inputs: A tensor of shape (N, …), or a tuple of tensors.
        perturb_func: Returns perturbed inputs, given inputs with one or more copies of every example, all copies of
            example 0 first. If the function takes a second positional argument, it also gets ``perturb_radius``. If it
            has parameters of the names ``target``, ``additional_forward_args`` and ``seed``, it also gets these by
            keyword. If it is an attack of this package on the method of ``explanation_func``, it also gets ``k`` and
            all other ``kwargs``, so that it attacks exactly this explanation. Arguments that are bound by
            ``functools.partial`` are not replaced.
        perturb_radius: Radius of the perturbation, in the norm of ``perturb_func`` and in the units of the inputs.
        n_perturb_samples: Number of perturbed copies of every example.
        similarity: A similarity (``"top_k"``, ``"kendall"``, ``"spearman"`` or ``"cosine"``): the smallest value is the
            worst. Or a distance (``"mass_center"`` or ``"lipschitz"``): the largest value is the worst. Or a function
            that gets the maps of the inputs and of the perturbed inputs, and returns a tensor of shape (rows,): the
            smallest value is the worst.
        k: Number of top features that ``"top_k"`` compares: an int is a count, a float a fraction, rounded up.
        max_examples_per_batch: The largest number of rows in a call of the functions. A call always has at least one
            copy of every example. ``None`` puts all copies into one call. The total number of copies does not depend on
            this argument. Random functions give other random perturbations if this argument changes.
        seed: Makes the result reproducible if the functions use the global random generators or have a parameter
            ``seed``. Each call gets a different seed, and the generators are restored afterwards. ``None`` sets no
            seed.
        **kwargs: Arguments of ``explanation_func``. Arguments with one entry for each example are repeated for the
            copies, as ``NoiseTunnel`` does.

    Returns:
        The worst value of each example over its copies, shape (N,).

    Raises:
        InvalidInputError: An argument is malformed, or a function did not return what is described above.

    Source:
        Chen et al. (2019) for attacks; Alvarez-Melis and Jaakkola (2018) for ``"lipschitz"``.

    Example:
        >>> from captum.attr import Saliency
        >>> saliency = Saliency(lambda x: x.square().sum(dim=1))
        >>> inputs = torch.tensor([[1.0, 2.0], [1.0, 4.0]])
        >>> def towards_the_first(x, radius):
        ...     return x + radius * torch.tensor([1.0, -1.0])
        >>> attribution_robustness(saliency.attribute, inputs, towards_the_first, perturb_radius=1.0, k=1)
        tensor([0., 1.], dtype=torch.float64)
    """
    for name, function in (("explanation_func", explanation_func), ("perturb_func", perturb_func)):
        if not callable(function):
            raise InvalidInputError(f"Expected `{name}` to be a function, got {function!r}.")
    if kwargs.get("return_convergence_delta"):
        raise InvalidInputError("Expected an explanation that returns maps alone, got `return_convergence_delta`=True.")
    tensors = checked_inputs(inputs)
    samples = checked_integer("n_perturb_samples", n_perturb_samples, at_least=1)
    at_once = samples
    if max_examples_per_batch is not None:
        rows = checked_integer("max_examples_per_batch", max_examples_per_batch, at_least=1)
        at_once = max(1, rows // len(tensors[0]))
    pair = ExplanationPair(
        explanation_func,
        PerturbFunc(
            perturb_func,
            radius=checked_number("perturb_radius", perturb_radius, at_least=0),
            explained_by=explanation_func,
            k=k if similarity == "top_k" else None,
        ),
        Comparison(similarity, k=k),
        inputs=tensors,
        is_tuple=isinstance(inputs, tuple),
        arguments=kwargs,
        seed=None if seed is None else checked_integer("seed", seed, below=2**64),
    )
    with torch.no_grad(), warnings.catch_warnings():
        # Captum warns that it sets `requires_grad` on its inputs. The inputs are copies here, so the warning is
        # useless.
        warnings.filterwarnings("ignore", message=r"Input Tensor \d+ did not already require gradients")
        return pair.worst(samples, at_once=at_once)
