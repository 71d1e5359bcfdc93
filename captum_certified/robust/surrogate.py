"""A smooth stand-in for the rectifiers of a network, so that the gradient of a gradient is not zero."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from captum_certified.exceptions import InvalidInputError
from captum_certified.smoothing import checked_number

__all__ = ["softplus_surrogate"]


@contextmanager
def softplus_surrogate(beta: float) -> Iterator[None]:
    """Replace the rectifiers that run inside the block by their softplus versions; no network is edited.

    ReLU becomes softplus, ln(1 + exp(βx))/β, ReLU6 (and any hardtanh) the difference of two, LeakyReLU its mix with the
    identity: as modules, as functions, as methods of tensors, and in place. The saliency map of a piecewise
    linear network is piecewise constant, so its own gradient says nothing about how to change it; that of the
    surrogate does. Use it for gradients only: results are measured on the network itself.

    A compiled or scripted network hides its rectifiers, and is left as it is; so is what rectifies by another name,
    such as ``clamp(min=0)`` or ``maximum``.

    Args:
        beta: β > 0; the surrogate differs from the rectifier by at most ln(2)/β, at its kink.

    Raises:
        InvalidInputError: β is not a positive number.

    Source:
        Dombrowski et al. (2019), section 3; Ghorbani et al. (2019) and Levine et al. (2019) attack this way.

    Example:
        >>> import torch
        >>> from captum_certified.robust import softplus_surrogate
        >>> with softplus_surrogate(beta=1.0):
        ...     torch.nn.ReLU()(torch.zeros(1))
        tensor([0.6931])
    """
    with _SoftRectifiers(checked_number("beta", beta, above=0)):
        yield


class _SoftRectifiers(TorchFunctionMode):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        rectifier = _RECTIFIERS.get(func)
        if rectifier is None:
            return func(*args, **kwargs)
        in_place = func in _IN_PLACE or bool(kwargs.pop("inplace", False))
        source = kwargs.pop("input", None)
        inputs, *rest = args if source is None else (source, *args)
        if in_place:  # what softplus remembers for its gradient must outlive the write
            return inputs.copy_(rectifier(inputs.clone(), self.beta, *rest, **kwargs))
        return rectifier(inputs, self.beta, *rest, **kwargs)


def _relu(inputs: Tensor, beta: float, *_: Any) -> Tensor:
    return functional.softplus(inputs, beta=beta)


def _relu6(inputs: Tensor, beta: float, *_: Any) -> Tensor:
    return _hardtanh(inputs, beta, 0.0, 6.0)


def _hardtanh(inputs: Tensor, beta: float, min_val: float = -1.0, max_val: float = 1.0, *_: Any) -> Tensor:
    rising = functional.softplus(inputs - min_val, beta=beta)
    return min_val + rising - functional.softplus(inputs - max_val, beta=beta)


def _leaky_relu(inputs: Tensor, beta: float, negative_slope: float = 0.01, *_: Any) -> Tensor:
    return negative_slope * inputs + (1 - negative_slope) * functional.softplus(inputs, beta=beta)


_RECTIFIERS: dict[Callable[..., Any], Callable[..., Tensor]] = {
    functional.relu: _relu,
    functional.relu_: _relu,
    torch.relu: _relu,
    torch.relu_: _relu,
    Tensor.relu: _relu,
    Tensor.relu_: _relu,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    functional.hardtanh_: _hardtanh,
    functional.leaky_relu: _leaky_relu,
    functional.leaky_relu_: _leaky_relu,
}
_IN_PLACE = frozenset({functional.relu_, torch.relu_, Tensor.relu_, functional.hardtanh_, functional.leaky_relu_})


def check_unscripted(modules: list[torch.nn.Module]) -> None:
    """Refuse networks whose rectifiers no surrogate can see.

    Raises:
        InvalidInputError: A module is scripted.
    """
    for module in modules:
        if isinstance(module, torch.jit.ScriptModule):
            raise InvalidInputError(
                f"Expected a network of Python modules for `surrogate_beta`, got a scripted {module.original_name}."
            )
