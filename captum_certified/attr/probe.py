"""The probe: checks that the sampled map is one fixed function of one noisy input.

A pass is a batch of rows that go through the method together, and each row is one draw of one example. Every run is
checked in two ways, which together cost four extra passes. *Other rows must not matter:* one pass is repeated three
times, each time with half of its rows replaced. The third time, the rows are also in another order. The rows that are
kept must give the same maps. *Time must not matter:* after the last draw, the first call is repeated, and must give the
same maps.

The probe compares per-draw maps. In raw attributions, a single large entry could hide changes of all other entries.
If two calls have equal shapes, the bits of a row's result do not depend on the other rows. So even the smallest
difference is an error. The only exception is arithmetic that is not reproducible: then a repetition without replaced
rows differs too.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_certified.attr.memory import is_out_of_memory
from captum_certified.attr.reachable import BufferDigests, Reachable
from captum_certified.attr.row_replacement import RowReplacement, row_replacements
from captum_certified.exceptions import CertificationError
from captum_certified.maps import difference_in_limits
from captum_certified.sampling import PerDrawMap

__all__ = ["CallConditions", "Probe"]

# If a model sorts or groups rows by their values, replacing other rows changes how a row is rounded. So small
# differences are ignored in maps that are not 0/1: up to this part of the tolerance of `difference_in_limits`, a
# millionth of the sum of a row.
_ROUNDING_IN_LIMITS = 1e-3
# One row in a hundred may be so near to a kink of the network (a point where the gradient jumps) that rounding changes
# its gradient much. In MobileNet v1 one row of 195 changed by 2 %.
_ROWS_TO_A_KINK = 100

Noisy = tuple[Tensor, ...]
ComputeMagnitudes = Callable[[Noisy, range], Tensor]
"""Feature magnitudes of a call on noisy inputs, all draws of example 0 first, shape (N · draws, n)."""


@dataclass(frozen=True)
class CallConditions:
    """Conditions under which a call is computed, and which affect its rounding.

    Attributes:
        most_draws: The largest number of draws that are computed together, as limited by memory.
        draw_by_draw: Whether every draw is computed in a separate call.
    """

    most_draws: float
    draw_by_draw: bool


@dataclass(frozen=True)
class _RecordedCall:
    """A call of the method, to be repeated later.

    Attributes:
        draws: Draws of the call.
        magnitudes: Feature magnitudes that the call gave, shape (N · draws, n).
        conditions: Conditions under which the call was computed.
        compiled_graphs: Number of graphs that ``torch.compile`` had compiled after the call.
    """

    draws: range
    magnitudes: Tensor
    conditions: CallConditions
    compiled_graphs: int


class Probe:
    """Checks that a run samples one fixed function of one noisy input.

    Args:
        make_noisy: Makes the noisy inputs of some draws, as new tensors in every call.
        perturbed: For each input tensor, whether it gets noise.
        per_draw_maps: Maps that are averaged.
        seed: Seed of the run, from which the rows to replace are chosen.
        most_draws: Number of draws in the largest pass.
        reachable: Objects that the method can call; their buffers are watched.
        buffers: Digests of the buffers before the first call.
    """

    def __init__(
        self,
        make_noisy: Callable[[range], Noisy],
        perturbed: Sequence[bool],
        per_draw_maps: Sequence[PerDrawMap],
        *,
        seed: int,
        most_draws: int,
        reachable: Reachable,
        buffers: BufferDigests,
    ) -> None:
        self.make_noisy = make_noisy
        self.perturbed = perturbed
        self.per_draw_maps = per_draw_maps
        self.seed = seed
        self.most_draws = most_draws
        self.reachable = reachable
        self.rows_unchecked = True
        # On an accelerator, an index that is out of range makes all later calls of the process fail, not only this one.
        on_cpu = all(tensor.device.type == "cpu" for tensor in reachable.tensors())
        self.takes_any_values = on_cpu or not reachable.has(nn.Embedding, nn.EmbeddingBag)
        self.buffers = buffers
        self._first_call: _RecordedCall | None = None

    @property
    def has_first_call(self) -> bool:
        """Whether the first call is recorded, to be repeated later."""
        return self._first_call is not None

    # -- other rows must not matter ------------------------------------------------------------------------

    def check_other_rows(self, draws: range, magnitudes: Tensor, compute: ComputeMagnitudes, *, reorder: bool) -> None:
        """Raise a CertificationError if the map of a row depends on other rows or on its place in the pass.

        The check runs once, on the largest pass. A pass of one row has no other rows and is skipped.

        Args:
            draws: Draws of the pass.
            magnitudes: Feature magnitudes of the pass.
            compute: Computes the pass with other inputs.
            reorder: Whether all draws are computed in one call, so that they can change places.
        """
        if not self.rows_unchecked or len(draws) < self.most_draws:
            return
        self.rows_unchecked = False
        for replacement in row_replacements(len(magnitudes), draws, self.seed, reorder=reorder):
            kept, expected = replacement.kept, magnitudes[replacement.order]
            computed = self._compute_with(replacement, draws, compute)[kept]
            differences = self._differences(expected[kept], computed)
            if replacement.reorders and bool(differences.any()):
                # The place of a row in a call may change the rounding of the row, so the effect of the place is tested
                # separately.
                reordered = compute(replacement.reordered(self.make_noisy(draws)), draws)
                if _exceed_rounding(self._differences(expected, reordered)):
                    raise CertificationError(
                        "Expected attributions that depend on one input alone, got other maps for rows that moved to "
                        "another place in their pass. The model uses this place, for example to choose a random number."
                    )
                differences = self._differences(reordered[kept], computed)
            if bool(differences.any()):
                self._check_against_repetition(differences, draws, magnitudes, compute)

    def _check_against_repetition(
        self, differences: Tensor, draws: range, magnitudes: Tensor, compute: ComputeMagnitudes
    ) -> None:
        """Raise an error if rows differ. Allow differences by rounding if an unmodified repetition differs too."""
        repeated = compute(self.make_noisy(draws), draws)
        if bool((self._differences(magnitudes, repeated) > 1).any()):
            raise _changed_method_error(draws)
        wrong = (differences > _tolerance(magnitudes, repeated)).any(dim=0)
        if bool(wrong.any()):
            raise CertificationError(
                f"Expected attributions that depend on one input alone, got {int(wrong.sum())} of {len(wrong)} rows "
                "whose maps change with the other rows of their pass. Likely causes are batch statistics, a recurrence "
                "over the batch, or another operation across the first dimension."
            )

    def _compute_with(self, replacement: RowReplacement, draws: range, compute: ComputeMagnitudes) -> Tensor:
        """Compute a pass with replaced rows.

        Rows are first replaced by values from the range of the whole tensor. Some models accept for each feature only
        values from the range of this feature, for example indices. If the model raises an error, the rows are replaced
        again by values within the range of each feature.
        """
        try:
            return compute(
                replacement.applied(self.make_noisy(draws), self.perturbed, far=self.takes_any_values), draws
            )
        except Exception as error:
            if _is_machine_error(error):
                raise
        try:
            return compute(replacement.applied(self.make_noisy(draws), self.perturbed, far=False), draws)
        except Exception as error:
            if _is_machine_error(error):
                raise
            raise CertificationError(
                "Expected a model that accepts the probe's replacement rows, whose features are mirrored within their "
                "range in a pass, but it raised "
                f"{type(error).__name__}: {error} Set `check_rows`=False to sample without the probe, if you are sure "
                "that rows do not affect each other."
            ) from error

    # -- time must not matter ------------------------------------------------------------------------------

    def record_first_call(self, draws: range, magnitudes: Tensor, conditions: CallConditions) -> None:
        """Record the first call of a run. The caller must not change ``magnitudes`` afterwards."""
        self._first_call = _RecordedCall(draws, magnitudes, conditions, _compiled_graphs())

    def check_first_call(self, compute: ComputeMagnitudes, conditions: CallConditions) -> None:
        """Repeat the first call, and raise a CertificationError if its maps have changed.

        The check does not notice a state of the model that has changed and then returned to its first value.
        """
        call = self._first_call
        if call is None:
            return
        repeated = compute(self.make_noisy(call.draws), call.draws)
        differences = self._differences(call.magnitudes, repeated)
        same_rounding = conditions == call.conditions and _compiled_graphs() == call.compiled_graphs
        if bool(differences.any()) and (same_rounding or _exceed_rounding(differences)):
            repeated_again = compute(self.make_noisy(call.draws), call.draws)
            if bool((differences > _tolerance(repeated, repeated_again)).any()):
                raise _changed_method_error(call.draws)
        changed = self.reachable.changed_buffers(self.buffers)
        if changed:
            self.buffers = self.reachable.buffer_digests()
            warnings.warn(
                f"The model's buffers {', '.join(map(repr, changed))} changed while it was sampled, and its maps did "
                "not. They are probably caches or counters. If they can change the output, the certificate is wrong.",
                UserWarning,
                stacklevel=2,
            )

    # -- differences of maps -------------------------------------------------------------------------------

    def _differences(self, one: Tensor, two: Tensor) -> Tensor:
        """Compute how much the maps of each row differ, relative to the tolerance for differences in arithmetic.

        The result has shape (maps + 1, rows), with a line for each map. The last line compares the magnitudes
        themselves, because a change of the magnitudes may by chance leave the maps equal. The last line is 0 unless the
        magnitudes of most rows differ.
        """
        if torch.equal(one, two):  # the usual case, and far cheaper than making maps
            return torch.zeros((len(self.per_draw_maps) + 1, len(one)), dtype=torch.float64, device=one.device)
        of_maps = [_difference(f(one).values, f(two).values) for f in self.per_draw_maps]
        of_magnitudes = _difference(one, two)
        of_magnitudes = of_magnitudes * (of_magnitudes.median() > 1)
        return torch.stack([*of_maps, of_magnitudes]).masked_fill(~torch.isfinite(two).all(dim=1), torch.inf)


def _exceed_rounding(differences: Tensor) -> bool:
    """Return whether so many rows differ that rounding near kinks of the network cannot be the reason."""
    return bool(((differences > 1).sum(dim=1) > 1 + differences.shape[1] // _ROWS_TO_A_KINK).any())


def _tolerance(one: Tensor, two: Tensor) -> float:
    """Return the largest allowed difference: 0 if two computations of one call are equal, else 1."""
    return 0.0 if torch.equal(one, two) else 1.0


def _difference(one: Tensor, two: Tensor) -> Tensor:
    """Compute the difference of two maps relative to the tolerance; 0 for rows that differ only by rounding."""
    difference = difference_in_limits(one, two)
    return difference if one.dtype == torch.bool else difference * (difference > _ROUNDING_IN_LIMITS)


def _is_machine_error(error: Exception) -> bool:
    """Return whether an error is about memory or files, and not about the rows."""
    return is_out_of_memory(error) or isinstance(error, OSError)


def _changed_method_error(draws: range) -> CertificationError:
    return CertificationError(
        f"Expected attributions that stay the same while they are sampled, got other maps of draws {draws.start} to "
        f"{draws.stop - 1} when they were computed again. The model changes in its forward pass: it keeps a state, a "
        "running statistic or a counter."
    )


def _compiled_graphs() -> int:
    """Return how many graphs were compiled so far. Two graphs of one model may round differently."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo is not None else 0
