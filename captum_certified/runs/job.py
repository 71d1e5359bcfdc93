"""What a run over a data set is to do with every example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.fingerprint import DeclaredSettings, setup_of
from captum_certified.attr.request import SamplingRequest
from captum_certified.attr.run import SamplingRun, request_of
from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.sequential import Goal
from captum_certified.checks import checked_number, resolved_count
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.runs.examples import Example
from captum_certified.runs.run_fingerprint import sampling_settings
from captum_certified.theory import look_sizes

__all__ = ["Job", "OnFailure"]

OnFailure = Literal["raise", "record"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The settings of a run, checked as far as they can be without an example.

    Attributes:
        certifier: Certifies, with the explainer to sample from.
        k: Size of the top set.
        radius: L2 size of the perturbation.
        radii: More radii to certify, for the summary.
        nt_samples: Draws of each example; the most draws, if there is an ``overlap``.
        overlap: Overlap at which the draws of an example end, or ``None``.
        seed: Seed of the noise.
        out: Folder of the results.
        resume: Whether results and checkpoints found there are used.
        on_failure: Whether an example that cannot be certified ends the run.
        sampling: Further arguments of :meth:`SamplingRequest.checked`.
        check_rows: As in ``sample``.
        declared: What the explainer says of itself, once an example was explained.
        beside: Writes further files of an example, before its JSON; told the files' path without a suffix, the
            certificate, the example, and whether the result is new.
    """

    certifier: Certifier
    k: float
    radius: float
    radii: Sequence[float] | None
    nt_samples: int
    seed: int | None
    overlap: float | None = None
    out: Path | None = None
    resume: bool = True
    on_failure: OnFailure = "raise"
    sampling: Mapping[str, Any] = field(default_factory=dict)
    check_rows: bool = True
    declared: list[DeclaredSettings] = field(default_factory=list)
    beside: Callable[[Path, TopKCertificate, Example, bool], None] | None = None

    def __post_init__(self) -> None:
        _ = self.explainer
        radius = checked_number("radius", self.radius, at_least=0)
        resolved_count("k", self.k)
        if self.overlap is not None:
            resolved_count("overlap", self.overlap, resolved_count("k", self.k))
        if isinstance(self.nt_samples, int) and self.nt_samples < 2:
            raise CertificationError(f"Expected `nt_samples` of at least 2 draws to certify, got {self.nt_samples}.")
        if self.on_failure not in ("raise", "record"):
            raise InvalidInputError(f"Expected `on_failure` to be 'raise' or 'record', got {self.on_failure!r}.")
        given = (radius / 2, 2 * radius) if self.radii is None else self.radii
        radii = {checked_number("radii", float(r), at_least=0) for r in given} | {radius}
        object.__setattr__(self, "radius", radius)
        object.__setattr__(self, "radii", tuple(sorted(radii)))
        for name in ("k", "overlap"):
            value = getattr(self, name)
            object.__setattr__(self, name, value.item() if isinstance(value, np.generic) else value)

    @cached_property
    def explainer(self) -> SmoothedAttribution:
        """What is sampled."""
        method = self.certifier.attribution_method
        if method is None:
            raise InvalidInputError("Expected a Certifier with an `attribution_method` to sample from, got None.")
        return method

    def goal(self, request: SamplingRequest) -> Goal | None:
        """When to look whether an example is done; ``None`` if its draws are fixed."""
        if self.overlap is None:
            return None
        sizes = look_sizes(request.plan.block, request.plan.n_samples)
        return Goal(self.certifier, self.k, self.radius, self.overlap, sizes)

    @property
    def certificate_settings(self) -> dict[str, Any]:
        """Settings that need no new draws when they change; not all of them may be chosen after looking."""
        return {
            "k": self.k,
            "radius": self.radius,
            "radii": list(self.radii or ()),
            "confidence": self.certifier.confidence,
            "bound": self.certifier.bound,
            "violations": self.certifier.violations,
        }

    def request(self, example: Example, *, seed: int | None) -> SamplingRequest:
        """The draws of an example, all of them.

        Raises:
            InvalidInputError: An argument is not what was expected.
        """
        sampling = dict(self.sampling)
        kwargs = {**sampling.pop("kwargs", {}), "target": example.target}
        if example.region is not None:
            sampling["region"] = example.region
        return request_of(
            self.explainer,
            example.inputs,
            nt_samples=self.nt_samples,
            seed=seed,
            show_progress=False,
            kwargs=kwargs,
            **sampling,
        )

    def run(self, request: SamplingRequest, *, on_pass: Callable[[int], object] | None = None) -> SamplingRun:
        """What samples the draws of an example."""
        declared = self.declared[0] if self.declared else None
        return SamplingRun([self.explainer], request, check_rows=self.check_rows, on_pass=on_pass, declared=declared)

    def declared_by(self, run: SamplingRun) -> DeclaredSettings:
        """What the explainer says of itself: all weights are hashed, once, when the first example was explained."""
        if not self.declared:
            self.declared.append(run.start.declared)
        return self.declared[0]

    def sampling_settings(self, run: SamplingRun) -> dict[str, Any]:
        """Settings that determine the draws: sequential ones depend on what is to be certified."""
        explainer = self.explainer
        setup = setup_of(type(explainer).__name__, explainer.per_draw_map, self.declared_by(run), run.request)
        settings = {**sampling_settings(setup, run.request), "check_rows": self.check_rows}
        if self.overlap is not None:
            asked = {name: value for name, value in self.certificate_settings.items() if name != "radii"}
            settings["sequential"] = {"overlap": self.overlap, **asked}
        return settings
