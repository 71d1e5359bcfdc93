"""The settings of a run over a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.certify import Certifier, TopKCertificate
from captum_certified.certify.goal import Goal
from captum_certified.certify.prover import check_draws
from captum_certified.certify.stopping_rule import StoppingRule
from captum_certified.checks import checked_number
from captum_certified.exceptions import InvalidInputError
from captum_certified.runs.examples import Example
from captum_certified.runs.run_fingerprint import sampling_settings
from captum_certified.storage import Json, digest

__all__ = ["Job", "OnFailure"]

OnFailure = Literal["raise", "record"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The settings of a run over a data set, checked as far as possible without an example.

    Attributes:
        certifier: The certifier, with the explainer to sample from.
        goal: The top set, the radius and the overlap.
        sampling: The arguments of sampling that all examples share.
        radii: More radii to certify, for the summary; by default half and twice the radius of the goal.
        out: Folder of the results.
        resume: Whether results and checkpoints in ``out`` are used.
        on_failure: What to do with the error of an example that cannot be certified: ``"raise"`` the error or
            ``"record"`` it.
        beside: A function that writes further files of an example, before the JSON file is written. Its arguments are
            the path of the files without a suffix, the certificate, the example, and whether the result is new.
    """

    certifier: Certifier
    goal: Goal
    sampling: CallSettings
    radii: Sequence[float] | None = None
    out: Path | None = None
    resume: bool = True
    on_failure: OnFailure = "raise"
    beside: Callable[[Path, TopKCertificate, Example, bool], None] | None = None

    def __post_init__(self) -> None:
        _ = self.explainer
        check_draws(self.sampling.nt_samples, of="`nt_samples` of ")
        if self.on_failure not in ("raise", "record"):
            raise InvalidInputError(f"Expected `on_failure` to be 'raise' or 'record', got {self.on_failure!r}.")
        radius = self.goal.radius
        given = (radius / 2, 2 * radius) if self.radii is None else self.radii
        radii = {checked_number("radii", float(r), at_least=0) for r in given} | {radius}
        object.__setattr__(self, "radii", tuple(sorted(radii)))

    @property
    def explainer(self) -> SmoothedAttribution:
        """The smoothed attribution to sample from."""
        return self.certifier.explainer

    @property
    def all_radii(self) -> tuple[float, ...]:
        """The radius of the goal and the other radii, ascending."""
        return tuple(self.radii or ())

    def for_example(self, example: Example) -> "Job":
        """Return the job with the reference set of an example, if the example has one."""
        return (
            self if example.reference is None else replace(self, goal=replace(self.goal, reference=example.reference))
        )

    @property
    def certificate_settings(self) -> dict[str, Json]:
        """Settings that can change without new draws. Most of them must be chosen before seeing any result."""
        reference = self.goal.reference
        named = reference if reference is None or isinstance(reference, str) else digest(reference)[:32]
        return {
            **({} if named is None else {"reference": named}),
            "k": self.goal.k,
            "radius": self.goal.radius,
            "radii": list(self.all_radii),
            "confidence": self.certifier.confidence,
            "bound": self.certifier.bound,
            "violations": self.certifier.violations,
        }

    def request(self, example: Example, *, seed: int | None) -> SamplingRequest:
        """Return the checked request for all draws of an example."""
        settings = replace(
            self.sampling,
            seed=seed,
            region=self.sampling.region if example.region is None else example.region,
            groups=self.sampling.groups if example.groups is None else example.groups,
            kwargs={**self.sampling.kwargs, **example.arguments, "target": example.target},
            show_progress=False,
        )
        return SamplingRequest.checked((self.explainer,), example.inputs, settings)

    def stopping_rule(self, request: SamplingRequest) -> StoppingRule | None:
        """Return the stopping rule, or ``None`` if the number of draws is fixed."""
        return None if self.goal.overlap is None else StoppingRule.of(self.certifier.prover, self.goal, request.plan)

    def sampling_settings(self, run: SamplingRun) -> dict[str, Json]:
        """Return the settings that determine the draws, including the goal of a sequential run."""
        settings = sampling_settings(run.setups[0], run.request)
        if self.goal.overlap is not None:
            asked = {name: value for name, value in self.certificate_settings.items() if name != "radii"}
            settings["sequential"] = {"overlap": self.goal.overlap, **asked}
        return settings
