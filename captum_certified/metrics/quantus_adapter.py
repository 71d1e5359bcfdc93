"""Explanations of this package and of Captum as the ``explain_func`` of Quantus. Quantus itself is not imported."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from captum.attr import Attribution
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from captum_certified.attr import SmoothedAttribution
from captum_certified.exceptions import InvalidInputError

__all__ = ["quantus_explain_func"]

ExplainFunc: TypeAlias = Callable[..., NDArray[np.floating[Any]]]


def quantus_explain_func(
    explainer_of: Callable[[nn.Module], Attribution], *, seed: int = 0, **kwargs: Any
) -> ExplainFunc:
    """Return a function that the metrics of Quantus take as their ``explain_func``.

    Quantus hands a model to its ``explain_func`` in every call, and some of its metrics hand over a changed one, with
    random weights for example. The explanation is therefore made anew in every call, around that model.

    A smoothed explanation is computed from the same noise in every call, so that a metric measures how the explanation
    changes with the input, and not how it changes with the noise.

    Args:
        explainer_of: Returns the explanation of a model, for example
            ``lambda model: SparsifiedSmoothGrad(Saliency(model))`` or the class ``Saliency`` itself.
        seed: Seed of the noise of a smoothed explanation. Other explanations do not get it.
        **kwargs: Further arguments of the explanation's ``attribute``, such as ``nt_samples`` and ``stdevs``.

    Returns:
        A function of ``model``, ``inputs`` and ``targets``, where the latter are arrays. It returns the maps as one
        array, structured like the inputs. Further arguments, which Quantus takes as ``explain_func_kwargs``, go to
        ``attribute``, except ``device``.

    Raises:
        InvalidInputError: ``explainer_of`` is not a function of a model. The function returned raises it where
            ``explainer_of`` does not return an attribution, or the explanation is a tuple of maps.

    Example:
        >>> import numpy as np
        >>> from captum.attr import Saliency
        >>> from captum_certified import SparsifiedSmoothGrad
        >>> from captum_certified.metrics import quantus_explain_func
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Softplus(), nn.Linear(8, 3))
        >>> explain = quantus_explain_func(
        ...     lambda model: SparsifiedSmoothGrad(Saliency(model), tau=0.25), nt_samples=16, stdevs=0.2
        ... )
        >>> explain(model, np.zeros((2, 1, 4, 4)), np.array([0, 1])).shape
        (2, 1, 4, 4)
    """
    if not callable(explainer_of):
        raise InvalidInputError(f"Expected `explainer_of` to be a function of a model, got {explainer_of!r}.")

    def explain(model: nn.Module, inputs: ArrayLike, targets: ArrayLike, **further: Any) -> NDArray[np.floating[Any]]:
        further.pop("device", None)
        method = explainer_of(model)
        if not isinstance(method, Attribution):
            raise InvalidInputError(f"Expected `explainer_of` to return an attribution, got {type(method).__name__}.")
        images = _placed(inputs, model).requires_grad_()
        fixed: Mapping[str, int] = {"seed": seed} if isinstance(method, SmoothedAttribution) else {}
        classes = torch.as_tensor(np.asarray(targets), dtype=torch.int64, device=images.device)
        with torch.enable_grad():
            maps = method.attribute(images, target=classes, **{**fixed, **kwargs, **further})
        if not isinstance(maps, Tensor):
            raise InvalidInputError(f"Expected one map for each example, got {type(maps).__name__}.")
        return np.asarray(maps.detach().cpu().numpy())

    return explain


def _placed(inputs: ArrayLike, model: nn.Module) -> Tensor:
    """Return inputs on the device and in the precision of the model's weights."""
    like = next((one for one in model.parameters() if one.is_floating_point()), torch.zeros(0))
    return torch.as_tensor(np.asarray(inputs)).to(device=like.device, dtype=like.dtype)
