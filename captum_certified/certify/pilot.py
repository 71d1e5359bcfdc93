"""The pilot tries many settings with few draws each, and shows in a table which settings are worth certifying.

A pilot proves nothing. A later certificate with the chosen settings is valid if it uses another seed than the pilot.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from typing import Any

from torch import Tensor

from captum_certified._captum import Target, advance_progress, progress_bar
from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import CallSettings, SamplingRequest
from captum_certified.attr.run import SamplingRun
from captum_certified.certify.certifier import Certifier
from captum_certified.certify.goal import Goal
from captum_certified.certify.top_k import TopKCertificate
from captum_certified.certify.written_numbers import rounded_down
from captum_certified.checks import checked_integer
from captum_certified.exceptions import CertificationError, InvalidInputError
from captum_certified.maps import Groups, SmoothedMap
from captum_certified.randomness import derived_seed, fresh_seed

__all__ = ["Pilot", "PilotRow", "pilot"]

_FEWEST = 256
_SEEN = 0.5  # a row whose `class_kept` is below this is chosen only if all rows of its method are below this


@dataclass(frozen=True, kw_only=True)
class PilotRow:
    """The results of one setting, as means over the examples of the pilot.

    Attributes:
        method: Class of the attribution method, with the classes of the methods inside it.
        map: Class of the smoothed attribution.
        tau: Fraction of features that are salient in a draw; ``None`` for a map without such a fraction.
        sigma: Standard deviation of the noise.
        groups: Name of the groups: their key in a dict, a text such as ``"patches:8"``, ``"none"``, or ``"mask"``.
        n_features: Number n of features.
        examples: Number of examples.
        class_kept: Fraction of noisy copies that keep the predicted class; ``None`` if outputs are not class scores.
        plain_overlap: Fraction of the smoothed map's top K that is in the plain map's top K.
        chance: Expected fraction of the plain map's top K that is in a random top K.
        brightness: Fraction of the plain map's top K among the K brightest features; ``None`` if the map is not
            structured like the input.
        randomised: Fraction of the plain map's top K that is also in the plain map's top K under random weights.
            ``None`` if the weights cannot be replaced.
        forecast_own: Forecast of the certified fraction of the map's own top K, from ``nt_samples`` draws.
        forecast_plain: Forecast of the certified fraction of the plain map's top K, from ``nt_samples`` draws.
        margin: Mean difference of ``forecast_plain`` and the largest of ``chance``, ``brightness``, ``randomised``.
        margin_error: Standard error of ``margin`` over the examples; ``None`` for one example.
        seconds: Estimated seconds for ``nt_samples`` draws of one example.
    """

    method: str
    map: str
    tau: float | None
    sigma: float
    groups: str
    n_features: int
    examples: int
    class_kept: float | None
    plain_overlap: float
    chance: float
    brightness: float | None
    randomised: float | None
    forecast_own: float
    forecast_plain: float
    margin: float
    margin_error: float | None
    seconds: float

    @property
    def is_seen(self) -> bool:
        """Whether at least half of the noisy copies keep the predicted class, or the outputs are not class scores."""
        return self.class_kept is None or self.class_kept >= _SEEN


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """The table of a pilot, with one row for each setting. It proves nothing.

    Attributes:
        rows: The settings.
        k: Size of the top set, as it was given.
        radius: L2 size of the perturbation.
        nt_samples: Number of draws to certify with.
        pilot_samples: Number of draws of the pilot, for each setting.
        seed: Seed of the pilot. Certify with another seed.
    """

    rows: tuple[PilotRow, ...]
    k: float
    radius: float
    nt_samples: int
    pilot_samples: int
    seed: int

    @property
    def best(self) -> dict[str, PilotRow]:
        """The row with the largest margin for every method. If a method has rows with ``is_seen``, only these count.

        Different methods have different plain maps, so the margins of two methods cannot be compared.
        """
        chosen: dict[str, PilotRow] = {}
        for row in self.rows:
            best = chosen.get(row.method)
            if best is None or (row.is_seen, row.margin) > (best.is_seen, best.margin):
                chosen[row.method] = row
        return chosen

    @property
    def verdict(self) -> str:
        """What the table says, and what to do next."""
        best = list(self.best.values())
        hopeful = [row for row in best if row.margin > 0]
        if hopeful:
            unsure = any(row.margin <= 2 * (row.margin_error or 0.0) for row in hopeful)
            expected = "A margin, though hardly beyond its error," if unsure else "A margin"
            methods = " and ".join(row.method for row in hopeful)
            return f"{expected} is to be expected for {methods}. Certify once, with another seed."
        if any(row.is_seen for row in best):
            return (
                "No setting has a margin at this radius, although the model sees its class through the noise: chance, "
                "brightness or random weights reach as much. Ask for a smaller radius, or train the model under noise."
            )
        return (
            "No setting has a margin: most noisy copies lose their class. Train the model under noise, put a denoiser "
            "in front of it, or try less noise and a smaller radius."
        )

    def __repr__(self) -> str:
        """Return the table, with ``*`` before the best row of every method."""
        best = list(self.best.values())
        head = ("", "method", "tau", "sigma", "groups", "class kept", "plain overlap", *_COMPARED, "own", "plain")
        cells: list[tuple[str, ...]] = [(*head, "margin", "s/example")]
        for row in self.rows:
            shares = (row.class_kept, row.plain_overlap, row.chance, row.brightness, row.randomised)
            cells.append(
                (
                    "*" if any(row is one for one in best) else "",
                    row.method,
                    "-" if row.tau is None else f"{row.tau:g}",
                    f"{row.sigma:g}",
                    row.groups,
                    *(_percent(share) for share in (*shares, row.forecast_own, row.forecast_plain)),
                    _margin(row),
                    f"{row.seconds:.0f}",
                )
            )
        widths = [max(len(row[column]) for row in cells) for column in range(len(head) + 2)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        about = (
            f"Pilot of {self.pilot_samples} draws: percent of the top set to expect from {self.nt_samples} draws at L2 "
            f"radius {rounded_down(self.radius)}, mean of {self.rows[0].examples} examples (± its standard error). It "
            "proves nothing."
        )
        return "\n".join([about, *lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Return the pilot as JSON values."""
        return {
            "kind": "pilot",
            **asdict(self),
            "best": {method: asdict(row) for method, row in self.best.items()},
            "verdict": self.verdict,
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each setting.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])


_COMPARED = ("chance", "brightness", "random weights")


def pilot(
    explainers: SmoothedAttribution | Sequence[SmoothedAttribution],
    inputs: Tensor | tuple[Tensor, ...],
    *,
    k: float,
    radius: float,
    nt_samples: int,
    stdevs: float | Sequence[float],
    groups: Sequence[Groups] | Mapping[str, Groups] = (None,),
    pilot_samples: int = 1024,
    target: Target = None,
    confidence: float = 0.95,
    bound: str = "best",
    nt_samples_batch_size: int | None = None,
    seed: int | None = None,
    show_progress: bool = False,
    on_row: Callable[[PilotRow], None] | None = None,
    **kwargs: Any,
) -> Pilot:
    """Try settings on a few examples, and forecast what each setting would certify. A pilot proves nothing.

    Certify later with another seed, if possible on other examples. A certificate is invalid if its settings were chosen
    by looking at its draws.

    Args:
        explainers: Smoothed attributions. Those with the same method object and the same ``sign`` share every draw.
        inputs: Tensor of shape (N, …), or a tuple of such tensors.
        k: Size of the top set: an int is a number of features, a float a fraction of all features.
        radius: L2 size ρ ≥ 0 of the perturbation, in the units of ``inputs``.
        nt_samples: Number of draws to certify with later.
        stdevs: Standard deviations of the noise to try.
        groups: Groups to try, each as in :meth:`SmoothedAttribution.attribute`. A dict names them in the table.
        pilot_samples: Number of draws for each setting, at least 256.
        target: As in Captum, or ``"argmax"``.
        confidence: Confidence of the certificates to forecast.
        bound: Bound of the certificates to forecast.
        nt_samples_batch_size: As for :meth:`SmoothedAttribution.attribute`.
        seed: Seed from which every setting derives its own seed. ``None`` draws a fresh seed.
        show_progress: Show a progress bar on stderr.
        on_row: Called with every row as soon as it is known.
        **kwargs: Arguments of the wrapped methods.

    Returns:
        A table with one row for every combination of explainer, σ and groups.

    Raises:
        InvalidInputError: An argument is invalid.
        CertificationError: The maps could not be certified, or a plain attribution is zero everywhere.

    Example:
        >>> import torch
        >>> from captum.attr import Saliency
        >>> from captum_certified import SparsifiedSmoothGrad, pilot
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.Softplus(), torch.nn.Linear(16, 3))
        >>> explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.25)
        >>> table = pilot(
        ...     explainer, torch.rand(4, 32), k=8, radius=0.02, nt_samples=4096, stdevs=[0.1, 0.4], target=0, seed=0
        ... )
        >>> [(row.sigma, row.forecast_plain > row.chance) for row in table.rows]
        [(0.1, True), (0.4, True)]
    """
    each = [explainers] if isinstance(explainers, SmoothedAttribution) else list(explainers)
    sigmas = [float(stdevs)] if isinstance(stdevs, int | float) else [float(stdev) for stdev in stdevs]
    if not each or not sigmas or not groups:
        raise InvalidInputError(
            f"Expected explainers, `stdevs` and `groups` to try, got {len(each)}, {len(sigmas)} and {len(groups)}."
        )
    goal = Goal(k=k, radius=radius)
    samples = checked_integer("pilot_samples", pilot_samples, at_least=_FEWEST)
    seed = fresh_seed() if seed is None else checked_integer("seed", seed, below=2**64)
    certifier = Certifier(confidence=confidence, bound=bound)
    rows: list[PilotRow] = []
    named = groups.items() if isinstance(groups, Mapping) else [(None, group) for group in groups]
    settings = list(product(_by_method(each), sigmas, named))
    with progress_bar(total=samples * len(settings), description="pilot", show=show_progress) as bar:
        for number, (together, sigma, (name, group)) in enumerate(settings):
            call = CallSettings(
                nt_samples=samples,
                nt_samples_batch_size=nt_samples_batch_size,
                stdevs=sigma,
                groups=group,
                covariance="auto",
                seed=derived_seed(seed, number),
                kwargs={**kwargs, "target": target},
            )
            begun = time.perf_counter()
            run = SamplingRun(SamplingRequest.checked(together, inputs, call), on_pass=partial(advance_progress, bar))
            maps = run.last()
            # The explainers share these draws, so the row of each explainer shows the time of all of them together.
            seconds = (time.perf_counter() - begun) / len(maps[0]) * nt_samples / samples
            for explainer, smoothed_map in zip(together, maps, strict=True):
                certificate = certifier.top_k(smoothed_map.as_if_of(nt_samples), k=goal.k, radius=goal.radius)
                rows.append(_row(explainer, smoothed_map, certificate, name, group, sigma, seconds))
                if on_row is not None:
                    on_row(rows[-1])
    return Pilot(
        rows=tuple(rows), k=goal.k, radius=goal.radius, nt_samples=nt_samples, pilot_samples=samples, seed=seed
    )


def _by_method(explainers: Sequence[SmoothedAttribution]) -> list[list[SmoothedAttribution]]:
    """Group the explainers that have the same method object and sign. The order of the explainers is kept."""
    together: dict[tuple[int, str], list[SmoothedAttribution]] = {}
    for explainer in explainers:
        together.setdefault((id(explainer.attribution_method), explainer.sign), []).append(explainer)
    return list(together.values())


def _row(
    explainer: SmoothedAttribution,
    smoothed_map: SmoothedMap,
    own: TopKCertificate,
    name: str | None,
    groups: Groups,
    sigma: float,
    seconds: float,
) -> PilotRow:
    plain, shared = own.of_plain, own.plain_overlap
    if plain is None or shared is None:
        raise CertificationError(
            f"Expected a bound that certifies the plain map's top set, and a plain map that is not zero, got bound "
            f"{own.bound!r}."
        )
    margins = plain.margin
    return PilotRow(
        method=str(smoothed_map.setup["method"]),
        map=type(explainer).__name__,
        tau=explainer.per_draw_map.settings().get("tau"),
        sigma=sigma,
        groups=name or (groups if isinstance(groups, str) else "none" if groups is None else "mask"),
        n_features=smoothed_map.layout.n_features,
        examples=len(margins),
        class_kept=_mean(own.class_kept),
        plain_overlap=float(shared.double().mean()) / own.k,
        chance=float(plain.chance.mean()),
        brightness=_mean(plain.brightness),
        randomised=_mean(plain.randomised),
        forecast_own=float(own.overlap_fraction.mean()),
        forecast_plain=float(plain.overlap_fraction.mean()),
        margin=float(margins.mean()),
        margin_error=float(margins.std()) / math.sqrt(len(margins)) if len(margins) > 1 else None,
        seconds=seconds,
    )


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _margin(row: PilotRow) -> str:
    error = "" if row.margin_error is None else f" ± {100 * row.margin_error:.0f}"
    return f"{100 * row.margin:+.0f}{error}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"
