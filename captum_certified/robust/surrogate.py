"""A softplus surrogate for the ReLUs of a network, which gives the saliency map a gradient that is not zero."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from captum.attr import Attribution
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from captum_certified.attr.reachable import Reachable
from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError

__all__ = ["AUTO", "ReLUMode", "Surrogate", "SurrogateBeta", "check_surrogate", "softplus_surrogate"]

AUTO: Final = "auto"
AUTO_BETA = 30.0  # docs/design.md has the measurements from which this value was chosen
SurrogateBeta = float | Literal["auto"] | None


@dataclass(frozen=True)
class Surrogate:
    """The network whose gradients guided an attack. Results are always measured on the original network.

    Attributes:
        beta: β of the softplus that replaced ReLUs; ``None`` if the original network was differentiated.
        why: Why there was no surrogate; empty if there was one.

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
        """Return the surrogate that the caller chose."""
        return cls(beta, "" if beta is not None else "turned off")

    @classmethod
    def automatic(cls, method: Attribution, *, seen: bool) -> "Surrogate":
        """Return the default surrogate if the network has ReLUs that can be replaced, otherwise no surrogate.

        Args:
            method: The attribution under attack.
            seen: Whether a ReLU was seen to run.
        """
        scripted = _scripted_module(method)
        if scripted is not None:
            return cls(None, f"the ReLUs of a scripted {scripted} cannot be replaced")
        return cls(AUTO_BETA) if seen else cls(None, "no ReLU was seen")

    def __str__(self) -> str:
        return f"none: {self.why}" if self.beta is None else f"softplus with β = {self.beta:g} in place of ReLU"


@contextmanager
def softplus_surrogate(beta: float) -> Iterator[None]:
    """Replace the ReLUs that run inside the block by softplus, without changing any network.

    ReLU becomes softplus, ln(1 + exp(βx))/β. ReLU6 (and any hardtanh) becomes the difference of two softplus, and
    LeakyReLU a mixture of softplus and the identity. Modules, functions, methods of tensors and in-place versions are
    all replaced. The saliency map of a piecewise linear network is piecewise constant. So the gradient of the map is
    zero, and an attack cannot follow it. The saliency map of the surrogate has a nonzero gradient. Use the surrogate
    for gradients only, and measure results on the network itself.

    ReLUs inside a compiled or scripted network are not replaced, because Python does not run them. ReLUs written in
    another way, such as ``clamp(min=0)`` or ``maximum``, are not replaced either.

    Args:
        beta: β > 0. Softplus differs from ReLU by at most ln(2)/β; the difference is largest at 0.

    Raises:
        InvalidInputError: ``beta`` is not a positive number.

    Source:
        Dombrowski et al. (2019), section 3; Ghorbani et al. (2019) and Levine et al. (2019) attack with a surrogate.

    Example:
        >>> import torch
        >>> from captum_certified.robust import softplus_surrogate
        >>> with softplus_surrogate(beta=1.0):
        ...     torch.nn.ReLU()(torch.zeros(1))
        tensor([0.6931])
    """
    with ReLUMode(checked_number("beta", beta, above=0)):
        yield


class ReLUMode(TorchFunctionMode):
    """A context that records whether ReLUs run, and replaces them by softplus if ``beta`` is given.

    Args:
        beta: β of the softplus; ``None`` runs ReLUs unchanged.

    Attributes:
        seen: Whether a ReLU ran within the block.
    """

    def __init__(self, beta: float | None = None) -> None:
        super().__init__()
        self.beta = beta
        self.seen = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        softened = _SOFTENED.get(func)
        self.seen = self.seen or softened is not None
        if softened is None or self.beta is None:
            return func(*args, **kwargs)
        in_place = func in _IN_PLACE or bool(kwargs.pop("inplace", False))
        source = kwargs.pop("input", None)
        inputs, *rest = args if source is None else (source, *args)
        if in_place:  # softplus keeps its input for the backward pass, so the input must not be overwritten
            return inputs.copy_(softened(inputs.clone(), self.beta, *rest, **kwargs))
        return softened(inputs, self.beta, *rest, **kwargs)


def _relu(inputs: Tensor, beta: float, *_: bool) -> Tensor:
    return functional.softplus(inputs, beta=beta)


def _relu6(inputs: Tensor, beta: float, *_: bool) -> Tensor:
    return _hardtanh(inputs, beta, 0.0, 6.0)


def _hardtanh(inputs: Tensor, beta: float, min_val: float = -1.0, max_val: float = 1.0, *_: bool) -> Tensor:
    rising = functional.softplus(inputs - min_val, beta=beta)
    return min_val + rising - functional.softplus(inputs - max_val, beta=beta)


def _leaky_relu(inputs: Tensor, beta: float, negative_slope: float = 0.01, *_: bool) -> Tensor:
    return negative_slope * inputs + (1 - negative_slope) * functional.softplus(inputs, beta=beta)


_SOFTENED: dict[Callable[..., Tensor], Callable[..., Tensor]] = {
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


def check_surrogate(beta: SurrogateBeta, method: Attribution | None) -> None:
    """Refuse an invalid β, and refuse a number as β for networks with ReLUs that cannot be replaced.

    Args:
        beta: β, ``"auto"`` or ``None``.
        method: The attribution under attack; ``None`` if it is not known yet.

    Raises:
        InvalidInputError: ``beta`` is not a positive number, ``"auto"`` or ``None``, or ``beta`` is a number and the
            network has a scripted module.
    """
    if beta is None or beta == AUTO:
        return
    if isinstance(beta, str):
        raise InvalidInputError(f"Expected `surrogate_beta` to be a number > 0, 'auto' or None, got {beta!r}.")
    checked_number("surrogate_beta", beta, above=0)
    scripted = _scripted_module(method)
    if scripted is not None:
        raise InvalidInputError(
            f"Expected a network of Python modules for `surrogate_beta`, got a scripted {scripted}. With 'auto' the "
            "network is attacked without a surrogate."
        )


def _scripted_module(method: Attribution | None) -> str | None:
    """Return the class name of a scripted module in a network that ``method`` calls; ``None`` if there is none."""
    for network in Reachable(method).modules:
        for module in network.modules():
            if isinstance(module, torch.jit.ScriptModule):
                return str(module.original_name)
    return None
