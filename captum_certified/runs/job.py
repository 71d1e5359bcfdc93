"""What a run over a data set is to do with every example."""

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
from captum_certified.storage import Json

__all__ = ["Job", "OnFailure"]

OnFailure = Literal["raise", "record"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """The settings of a run, checked as far as they can be without an example.

    Attributes:
        certifier: Certifies, with the explainer to sample from.
        goal: What is to be certified.
        sampling: The arguments of sampling, but for the target and what an example has of its own.
        radii: More radii to certify, for the summary; by default half of the goal's and twice as much.
        out: Folder of the results.
        resume: Whether results and checkpoints found there are used.
        on_failure: Whether an example that cannot be certified ends the run.
        beside: Writes further files of an example, before its JSON; told the files' path without a suffix, the
            certificate, the example, and whether the result is new.
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
        """What is sampled."""
        return self.certifier.explainer

    @property
    def all_radii(self) -> tuple[float, ...]:
        """The goal's radius and the others, ascending."""
        return tuple(self.radii or ())

    @property
    def certificate_settings(self) -> dict[str, Json]:
        """Settings that need no new draws when they change; not all of them may be chosen after looking."""
        return {
            "k": self.goal.k,
            "radius": self.goal.radius,
            "radii": list(self.all_radii),
            "confidence": self.certifier.confidence,
            "bound": self.certifier.bound,
            "violations": self.certifier.violations,
        }

    def request(self, example: Example, *, seed: int | None) -> SamplingRequest:
        """Return the call that samples all draws of an example.

        Raises:
            InvalidInputError: An argument is not what was expected.
        """
        settings = replace(
            self.sampling,
            seed=seed,
            region=self.sampling.region if example.region is None else example.region,
            kwargs={**self.sampling.kwargs, "target": example.target},
            show_progress=False,
        )
        return SamplingRequest.checked((self.explainer,), example.inputs, settings)

    def stopping_rule(self, request: SamplingRequest) -> StoppingRule | None:
        """Return when to look whether an example is done; ``None`` if its draws are fixed."""
        return None if self.goal.overlap is None else StoppingRule.of(self.certifier.prover, self.goal, request.plan)

    def sampling_settings(self, run: SamplingRun) -> dict[str, Json]:
        """Return the settings that determine the draws: sequential ones depend on what is to be certified."""
        settings = sampling_settings(run.setups[0], run.request)
        if self.goal.overlap is not None:
            asked = {name: value for name, value in self.certificate_settings.items() if name != "radii"}
            settings["sequential"] = {"overlap": self.goal.overlap, **asked}
        return settings
