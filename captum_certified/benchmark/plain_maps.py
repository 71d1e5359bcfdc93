"""The plain explanation of one example at random neighbours of the input, for the empirical metrics."""

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.wrapped_method import WrappedMethod
from captum_certified.benchmark.settings import BenchmarkSettings
from captum_certified.exceptions import FileFormatError
from captum_certified.runs.examples import Example
from captum_certified.storage import JsonObject, read_archive, write_archive

__all__ = ["PlainMaps", "plain_maps_of"]

_KIND = "plain maps"
_TENSORS = ("clean", "most_changed", "steepest", "change")


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainMaps:
    """The plain maps of one example that the empirical metrics are computed from.

    Of all neighbours that were tried only the two at which the metrics are largest are kept.

    Attributes:
        clean: Plain map at the input, shape (1, …).
        most_changed: Plain map at the neighbour where it differs most from ``clean``, shape (1, …).
        steepest: Plain map at the neighbour where it differs most for the size of the change of the input.
        change: L2 size of the change of the input at this neighbour, shape (1,).
    """

    clean: Tensor
    most_changed: Tensor
    steepest: Tensor
    change: Tensor

    @property
    def sensitivity(self) -> float:
        """Largest ‖map(x') − map(x)‖ / ‖map(x)‖ over the neighbours, as :func:`captum.metrics.sensitivity_max`."""
        return _sensitivity(self.clean, self.most_changed)

    @property
    def lipschitz(self) -> float:
        """Largest ‖map(x') − map(x)‖ / ‖x' − x‖ over the neighbours, as :func:`~captum_certified.local_lipschitz`."""
        return _lipschitz(self.clean, self.steepest, self.change)

    def save(self, path: str | os.PathLike[str], settings: JsonObject) -> None:
        """Write the maps, with the settings they depend on, whole or not at all."""
        arrays = {name: getattr(self, name).numpy() for name in _TENSORS}
        write_archive(path, kind=_KIND, header={"settings": settings}, arrays=arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> tuple["PlainMaps", JsonObject]:
        """Read the maps and their settings.

        Raises:
            FileFormatError: The file is corrupt or holds something else.
            OSError: The file cannot be opened.
        """
        header, arrays = read_archive(path, kind=_KIND)
        settings = header.get("settings")
        shapes = {name: array.shape for name, array in arrays.items()}
        maps = {shapes.get(name) for name in _TENSORS[:3]}
        if set(arrays) != set(_TENSORS) or not isinstance(settings, dict) or len(maps) > 1 or shapes["change"] != (1,):
            raise FileFormatError(f"Expected {path} to hold the plain maps of one example, got others.")
        return cls(**{name: torch.from_numpy(array) for name, array in arrays.items()}), settings


def plain_maps_of(
    explainer: SmoothedAttribution, example: Example, settings: BenchmarkSettings, *, seed: int
) -> PlainMaps:
    """Explain an input and random neighbours of it by the plain method.

    A neighbour is the input plus uniform noise of at most ``neighbour_radius`` in every value, as
    :func:`captum.metrics.sensitivity_max` draws it, cut to the bounds of an input.
    """
    assert isinstance(example.inputs, Tensor)  # noqa: S101  for the type checker: a benchmark has one input tensor
    request = SamplingRequest.checked(
        (explainer,),
        example.inputs,
        CallSettings(nt_samples=1, stdevs=1.0, seed=0, kwargs={**example.arguments, "target": example.target}),
    )
    wrapped = WrappedMethod(explainer.attribution_method, request)
    clean = _explained(wrapped, example.inputs)
    found = PlainMaps(clean=clean, most_changed=clean, steepest=clean, change=torch.zeros(1, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed % 2**63)
    for _ in range(settings.neighbours):
        noise = 2 * torch.rand(example.inputs.shape, generator=generator, dtype=torch.float64, device="cpu") - 1
        moved = example.inputs + (settings.neighbour_radius * noise).to(example.inputs)
        moved = moved.clamp(settings.lower_bound, settings.upper_bound)
        change = torch.tensor([_norm(moved.double() - example.inputs.double())], dtype=torch.float64, device="cpu")
        explained = _explained(wrapped, moved)
        if _sensitivity(clean, explained) > found.sensitivity:
            found = _replaced(found, most_changed=explained)
        if _lipschitz(clean, explained, change) > found.lipschitz:
            found = _replaced(found, steepest=explained, change=change)
    return found


def _replaced(found: PlainMaps, **changed: Tensor) -> PlainMaps:
    return PlainMaps(**{name: getattr(found, name) for name in _TENSORS} | changed)


def _explained(wrapped: WrappedMethod, inputs: Tensor) -> Tensor:
    [explained] = wrapped.under_fixed_seed((inputs.detach().clone(),)).maps
    return explained.cpu()


def _sensitivity(clean: Tensor, moved: Tensor) -> float:
    return _norm(moved.double() - clean.double()) / (_norm(clean.double()) or 1.0)


def _lipschitz(clean: Tensor, moved: Tensor, change: Tensor) -> float:
    distance = float(change)
    return _norm(moved.double() - clean.double()) / distance if distance > 0 else 0.0


def _norm(values: Tensor) -> float:
    """Return the L2 norm. The sum is rounded once, so that every machine gets the same number from saved maps."""
    return math.sqrt(math.fsum(values.square().reshape(-1).tolist()))
