"""A smooth stand-in for the rectifiers of a network, so that the gradient of a gradient is not zero."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from captum_certified.attr.reachable import Reachable
from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError

__all__ = ["AUTO", "RectifierWatch", "Surrogate", "SurrogateBeta", "check_surrogate", "softplus_surrogate"]

AUTO: Final = "auto"
AUTO_BETA = 30.0  # docs/design.md has what was measured
SurrogateBeta = float | Literal["auto"] | None


@dataclass(frozen=True)
class Surrogate:
    """What the gradients of an attack were taken of; its results are always those of the network itself.

    Attributes:
        beta: β of the softplus that stood in for ReLUs; ``None``: the network itself was differentiated.
        why: Why there was none, empty if there was one.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import InterpretationAttack
        >>> model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> result = InterpretationAttack(model, Saliency(model)).attack(torch.rand(2, 16), 0.5, k=4, seed=0)
        >>> print(result.surrogate)
        softplus with β = 30 in place of ReLU
    """

    beta: float | None
    why: str = ""

    @classmethod
    def fixed(cls, beta: float | None) -> "Surrogate":
        """The one that was asked for."""
        return cls(beta, "" if beta is not None else "turned off")

    @classmethod
    def automatic(cls, method: object, *, seen: bool) -> "Surrogate":
        """A surrogate where it has an effect.

        Args:
            method: The attribution under attack.
            seen: Whether ReLUs were seen to run.
        """
        scripted = _scripted(Reachable(method).modules)
        if scripted is not None:
            return cls(None, f"the ReLUs of a scripted {scripted} cannot be replaced")
        return cls(AUTO_BETA) if seen else cls(None, "no ReLU was seen")

    def __str__(self) -> str:
        return f"none: {self.why}" if self.beta is None else f"softplus with β = {self.beta:g} in place of ReLU"


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


class RectifierWatch(TorchFunctionMode):
    """Within the block, note whether a function ran that the surrogate would replace."""

    seen = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _RECTIFIERS:
            self.seen = True
        return func(*args, **(kwargs or {}))


def check_surrogate(beta: object, method: object) -> None:
    """Refuse what is no surrogate, and networks whose ReLUs no surrogate can replace.

    Args:
        beta: β, ``"auto"`` or ``None``.
        method: The attribution under attack.

    Raises:
        InvalidInputError: β is something else, or a number for a network with a scripted module.
    """
    if beta is None or beta == AUTO:
        return
    if isinstance(beta, str):
        raise InvalidInputError(f"Expected `surrogate_beta` to be a number > 0, 'auto' or None, got {beta!r}.")
    checked_number("surrogate_beta", beta, above=0)
    scripted = _scripted(Reachable(method).modules)
    if scripted is not None:
        raise InvalidInputError(
            f"Expected a network of Python modules for `surrogate_beta`, got a scripted {scripted}. With 'auto' it is "
            "attacked without a surrogate."
        )


def _scripted(networks: Iterable[torch.nn.Module]) -> str | None:
    """The name of a scripted module among networks and their parts."""
    for network in networks:
        for module in network.modules():
            if isinstance(module, torch.jit.ScriptModule):
                return str(module.original_name)
    return None
