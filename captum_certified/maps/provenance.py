"""The draws and the setup of a map, and checks whether two maps may be combined."""

from collections.abc import Sequence
from typing import NamedTuple

from captum_certified.exceptions import InvalidInputError
from captum_certified.storage import Json, JsonObject

__all__ = ["DrawRange", "Provenance", "Setup", "joined_draws", "merged_setup", "setup_of_rows", "stacked_setup"]


class DrawRange(NamedTuple):
    """The draws with the numbers ``start`` … ``stop`` − 1 of one seed."""

    seed: int
    start: int
    stop: int


Provenance = tuple[tuple[DrawRange, ...], ...]
# What was sampled and how, as JSON values.
Setup = JsonObject

# Settings that say how the draws were computed, and not what was explained. Maps may be combined if these differ.
_INCIDENTAL = frozenset({"versions", "device", "nt_samples_batch_size", "stochastic", "probed"})
# Settings with one entry for every example.
_PER_ROW = frozenset({"inputs", "target"})


def joined_draws(one: Provenance, two: Provenance) -> Provenance:
    """Return the draws of both maps for every example, or raise an InvalidInputError if a draw is in both maps.

    Adjacent ranges of the same seed are joined.
    """
    return tuple(_joined_row(a, b) for a, b in zip(one, two, strict=True))


def _joined_row(one: tuple[DrawRange, ...], two: tuple[DrawRange, ...]) -> tuple[DrawRange, ...]:
    joined: list[DrawRange] = []
    for draws in sorted(one + two):
        last = joined[-1] if joined else None
        if last is None or last.seed != draws.seed or last.stop < draws.start:
            joined.append(draws)
        elif draws.start < last.stop:
            raise InvalidInputError(
                f"Expected maps of distinct draws, got draws {draws.start} to "
                f"{min(last.stop, draws.stop) - 1} of seed {draws.seed} in both."
            )
        else:
            joined[-1] = last._replace(stop=draws.stop)
    return tuple(joined)


def merged_setup(one: Setup, two: Setup) -> dict[str, Json]:
    """Return the setup of two merged maps, or raise an InvalidInputError if their explanations or inputs differ."""
    if not one or not two:  # a map made from numbers has no setup to compare
        return dict(one or two)
    for key in sorted((set(one) | set(two)) - _INCIDENTAL):
        if one.get(key) != two.get(key):
            raise InvalidInputError(
                f"Expected maps of the same setup, got {key} = {one.get(key)!r} and {two.get(key)!r}."
            )
    merged = dict(one)
    for name, joined in (("stochastic", any), ("probed", all)):
        if name in one or name in two:
            merged[name] = joined((one.get(name, False), two.get(name, False)))
    return merged


def stacked_setup(one: Setup, two: Setup) -> dict[str, Json]:
    """Return the setup of two stacked maps, or raise an InvalidInputError if their explanations differ."""
    rows: dict[str, list[Json]] = {}
    for name in _PER_ROW:
        first, second = one.get(name), two.get(name)
        if isinstance(first, list) and isinstance(second, list):
            rows[name] = [*first, *second]
    return {**merged_setup(one, {**two, **{name: one[name] for name in rows}}), **rows}


def setup_of_rows(setup: Setup, rows: Sequence[int]) -> dict[str, Json]:
    """Return the setup of some of the examples."""
    lists = {name: each for name in _PER_ROW if isinstance(each := setup.get(name), list)}
    return {**setup, **{name: [each[row] for row in rows] for name, each in lists.items()}}
