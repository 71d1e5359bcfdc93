"""Smoothed maps at attacked inputs: under an attack on the smoothed map itself, and under one on the plain map."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from captum.attr import Attribution, Saliency
from torch import Tensor

from captum_certified._captum import MethodArguments
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.benchmark.cells import Cell
from captum_certified.benchmark.settings import BenchmarkSettings
from captum_certified.certify import TopKCertificate
from captum_certified.exceptions import FileFormatError, InvalidInputError
from captum_certified.maps import SmoothedMap, from_parts, parts_of
from captum_certified.randomness import derived_seed
from captum_certified.robust import InterpretationAttack
from captum_certified.robust.differentiable import check_differentiable
from captum_certified.runs.examples import Example
from captum_certified.storage import Json, JsonObject, read_archive, write_archive

__all__ = ["AttackedMaps", "Attacker"]

_KIND = "attacked maps"
_ATTACK = 1  # streams of seeds derived from that of the certificate
_STREAMS = {"own": 2, "transferred": 3}


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedMaps:
    """The smoothed maps of one example at attacked inputs.

    Attributes:
        own: The map under an attack on the smoothed map; ``None`` if its method cannot be differentiated.
        transferred: The map under an attack on the plain map of the method, or of Saliency if the method cannot be
            differentiated. Its ``plain`` is the plain map at this attacked input.
        sizes: L2 sizes of the two perturbations, by the names of the maps.
        seconds: Seconds that the draws of the certificate took (processor time on a CPU), ``None`` if interrupted.
    """

    own: SmoothedMap | None
    transferred: SmoothedMap
    sizes: dict[str, float]
    seconds: float | None

    @property
    def by_name(self) -> dict[str, SmoothedMap]:
        """The maps by name."""
        return {**({} if self.own is None else {"own": self.own}), "transferred": self.transferred}

    def save(self, path: str | os.PathLike[str], settings: JsonObject) -> None:
        """Write the maps, with the settings they depend on, whole or not at all."""
        parts = {name: parts_of(smoothed_map) for name, smoothed_map in self.by_name.items()}
        header: dict[str, Json] = {
            "settings": settings,
            "sizes": self.sizes,
            "seconds": self.seconds,
            "maps": {name: header for name, (header, _) in parts.items()},
        }
        arrays = {f"{name}.{key}": array for name, (_, found) in parts.items() for key, array in found.items()}
        write_archive(path, kind=_KIND, header=header, arrays=arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> tuple["AttackedMaps", JsonObject]:
        """Read the maps and their settings.

        Raises:
            FileFormatError: The file is corrupt or holds something else.
            OSError: The file cannot be opened.
        """
        header, arrays = read_archive(path, kind=_KIND)
        settings, sizes, maps = header.get("settings"), header.get("sizes"), header.get("maps")
        seconds = header.get("seconds")
        if not (isinstance(settings, dict) and isinstance(sizes, dict) and isinstance(maps, dict)):
            raise FileFormatError(f"Expected {path} to hold the attacked maps of one example, got something else.")
        found: dict[str, SmoothedMap] = {}
        for name, part in maps.items():
            own = {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
            found[name] = from_parts(SmoothedMap, part if isinstance(part, dict) else {}, own)
        if "transferred" not in found or found.keys() != sizes.keys() or found.keys() - {"own", "transferred"}:
            raise FileFormatError(f"Expected {path} to hold the attacked maps of one example, got {sorted(found)}.")
        numbers = {name: float(size) for name, size in sizes.items() if isinstance(size, float | int)}
        transferred, time = found["transferred"], float(seconds) if isinstance(seconds, float | int) else None
        return cls(own=found.get("own"), transferred=transferred, sizes=numbers, seconds=time), settings


class Attacker:
    """Attacks the plain and the smoothed maps of examples.

    Args:
        forward_func: The model, which predicts the class.
        settings: The settings of the benchmark.
        seed: Seed of the attacks on plain maps.
    """

    def __init__(self, forward_func: Callable[..., Tensor], settings: BenchmarkSettings, *, seed: int) -> None:
        self.forward_func = forward_func
        self.settings = settings
        self.seed = seed
        self._points: dict[tuple[str, int], Tensor] = {}

    def attacked(self, cell: Cell, example: Example, certificate: TopKCertificate, *, row: int) -> AttackedMaps:
        """Attack an example of a cell.

        Args:
            cell: The cell.
            example: The example.
            certificate: Its certificate at the radius of the attack.
            row: Number of the example. All cells with the same plain maps share the attack on its plain map.
        """
        can_attack, seed, key = _is_differentiable(cell.explainer), certificate.map.seed or 0, (cell.plain_name, row)
        if key not in self._points:
            method = cell.explainer.attribution_method if can_attack else Saliency(self.forward_func)
            # The plain map has no groups, so its top K is as large a fraction of its entries.
            k = certificate.k / certificate.map.layout.n_features
            arguments = example.arguments if can_attack else {}
            self._points[key] = self._perturbed(method, example, arguments, k=k, seed=self.seed)
        perturbed = {"transferred": self._points[key]}
        if can_attack:
            smoothed: MethodArguments = {
                "stdevs": cell.sigma,
                "groups": example.groups,
                "nt_samples": self.settings.attack_draws,
                "attribution_kwargs": example.arguments,
            }
            perturbed["own"] = self._perturbed(
                cell.explainer, example, smoothed, k=certificate.k, seed=derived_seed(seed, _ATTACK)
            )
        samples = self.settings.attack_samples or int(certificate.n_samples[0])
        maps = {
            name: _sampled(cell, replace(example, inputs=inputs), samples, seed=derived_seed(seed, _STREAMS[name]))
            for name, inputs in perturbed.items()
        }
        sizes = {name: _size(inputs, example.inputs) for name, inputs in perturbed.items()}
        return AttackedMaps(own=maps.get("own"), transferred=maps["transferred"], sizes=sizes, seconds=None)

    def _perturbed(
        self, method: Attribution, example: Example, arguments: MethodArguments, *, k: float, seed: int
    ) -> Tensor:
        """Return the input under an attack on a plain or a smoothed map."""
        settings = self.settings
        attack = InterpretationAttack(
            self.forward_func, method, lower_bound=settings.lower_bound, upper_bound=settings.upper_bound
        )
        result = attack.attack(
            example.inputs,
            settings.radius,
            k=k,
            step_num=settings.steps,
            n_restarts=settings.restarts,
            target=example.target,
            attribution_kwargs=arguments,
            seed=seed,
        )
        assert isinstance(result.perturbed, Tensor)  # noqa: S101  for the type checker: a benchmark has one input tensor
        return result.perturbed


def _sampled(cell: Cell, example: Example, samples: int, *, seed: int) -> SmoothedMap:
    """Sample the smoothed map of a perturbed example, without the yardsticks, which nothing reads there."""
    settings = CallSettings(
        nt_samples=samples,
        stdevs=cell.sigma,
        groups=example.groups,
        seed=seed,
        check_rows=False,  # the certificate has checked the same method
        kwargs={**example.arguments, "target": example.target},
    )
    run = SamplingRun(SamplingRequest.checked((cell.explainer,), example.inputs, settings))
    [smoothed_map] = run.last(check_later=False)
    return smoothed_map


def _is_differentiable(explainer: SmoothedAttribution) -> bool:
    try:
        check_differentiable(explainer)
    except InvalidInputError:
        return False
    return True


def _size(perturbed: Tensor, inputs: Tensor | tuple[Tensor, ...]) -> float:
    assert isinstance(inputs, Tensor)  # noqa: S101  for the type checker: a benchmark has one input tensor
    return float((perturbed.double() - inputs.double()).norm())
