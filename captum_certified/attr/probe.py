"""The probe: is what is sampled one fixed function of one noisy input?

Every run is checked in two ways, which costs four extra passes. *Do other rows reach a row?* A pass is repeated with
half of its rows replaced by others that are far away, and once with its rows in other places; the rows that are kept
must give the map that they gave before. *Is it the same later?* After the last draw an early call is repeated as it was
made; it must give the maps that it gave then.

What is compared are the maps that are averaged, not raw attributions: a single large entry would hide what happens to
all others. In calls of equal shape a row gives the same bits whatever the other rows are, so the least difference
counts, unless an unmodified repetition shows that arithmetic is not reproducible.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from captum_certified.attr.memory import is_out_of_memory
from captum_certified.attr.reachable import Reachable
from captum_certified.exceptions import CertificationError
from captum_certified.maps import difference_in_limits
from captum_certified.randomness import derived_seed
from captum_certified.sampling import PerDrawMap
from captum_certified.storage import digest

__all__ = ["Probe", "changed_buffers", "digests_of_buffers"]

# A map that is not 0/1 may be rounded otherwise where the model gathers rows by their values: a millionth of it.
_ROUNDING_IN_LIMITS = 1e-3
_WIDTH_OF_REPLACED = 0.45
# Of 195 rows of MobileNet v1 one was so near to a kink that rounding moved 2 % of its gradient.
_ROWS_TO_A_KINK = 100
_CHOICE_OF_ROWS = 2**31 - 3  # number of the seeds that choose rows

Noisy = tuple[Tensor, ...]
Magnitudes = Callable[[Noisy, range], Tensor]
"""Feature magnitudes of a call on noisy inputs, all draws of example 0 first, shape (N · draws, n)."""


@dataclass(frozen=True)
class _Call:
    """A call of the method, as it was made.

    Attributes:
        draws: Its draws.
        magnitudes: What it gave, shape (N · draws, n).
        circumstances: What decided how it was computed.
    """

    draws: range
    magnitudes: Tensor
    circumstances: tuple[object, ...]


class Probe:
    """Asks whether a run samples one fixed function of one noisy input.

    Args:
        make_noisy: The noisy inputs of some draws, made anew in every call.
        perturbed: For every input tensor whether it gets noise.
        per_draw_maps: The maps that are averaged.
        seed: Seed of the run, from which the rows to replace are chosen.
        most_draws: Number of draws of the largest pass.
        reachable: What the method can call; its buffers are watched.
        buffers: What they were before the first call.
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
        buffers: Mapping[tuple[int, str], str],
    ) -> None:
        self.make_noisy = make_noisy
        self.perturbed = perturbed
        self.per_draw_maps = per_draw_maps
        self.seed = seed
        self.most_draws = most_draws
        self.reachable = reachable
        self.rows_unchecked = True
        # On an accelerator an index out of range ends the process, and not only the call.
        on_cpu = all(tensor.device.type == "cpu" for tensor in reachable.tensors())
        self.takes_any_values = on_cpu or not reachable.has(nn.Embedding, nn.EmbeddingBag)
        self.buffers = buffers
        self._first: _Call | None = None

    @property
    def remembers(self) -> bool:
        """Whether a call is kept to be repeated later."""
        return self._first is not None

    # -- do other rows reach a row? ------------------------------------------------------------------------

    def check_other_rows(self, draws: range, magnitudes: Tensor, again: Magnitudes, *, move: bool) -> None:
        """Refuse a method for which other rows of a pass, or the place in it, reach the map of a row.

        The check runs once, on the largest pass. A pass of one row has no other rows and is skipped.

        Args:
            draws: Draws of the pass.
            magnitudes: What it gave.
            again: Makes the same pass of other inputs.
            move: Whether the draws of a pass share a call, so that they can change their places in it.

        Raises:
            CertificationError: The maps of a row change with other rows or with its place.
        """
        if not self.rows_unchecked or len(draws) < self.most_draws:
            return
        self.rows_unchecked = False
        for trial in self._trials(len(magnitudes), draws, move=move):
            other = self._tried(trial, draws, again)[trial.kept]
            moved = self._moved(magnitudes[trial.order][trial.kept], other)
            if trial.moves and bool(moved.any()):
                # The place of a row in a call may decide how it is rounded, and nothing else.
                elsewhere = again(tuple(t[trial.order.to(t.device)] for t in self.make_noisy(draws)), draws)
                if _are_many(self._moved(magnitudes[trial.order], elsewhere)):
                    raise CertificationError(
                        "Expected attributions that depend on one input alone, got other maps of rows that stand "
                        "elsewhere in their pass. The model uses the place of a row: a random number drawn for it, say."
                    )
                moved = self._moved(elsewhere[trial.kept], other)
            if bool(moved.any()):
                self._check_floor(moved, draws, magnitudes, again)

    def _check_floor(self, moved: Tensor, draws: range, magnitudes: Tensor, again: Magnitudes) -> None:
        """Refuse rows that other rows move, unless an unmodified repetition is not reproducible either."""
        repeated = again(self.make_noisy(draws), draws)
        if bool((self._moved(magnitudes, repeated) > 1).any()):
            raise _changed(draws)
        wrong = (moved > _allowed(magnitudes, repeated)).any(dim=0)
        if bool(wrong.any()):
            raise CertificationError(
                f"Expected attributions that depend on one input alone, got {int(wrong.sum())} of {len(wrong)} rows "
                "whose maps change with the other rows of their pass. Batch statistics, a recurrence over the batch "
                "and anything else that joins rows do so; look where the model uses its first dimension."
            )

    def _trials(self, rows: int, draws: range, *, move: bool) -> Iterator["_Trial"]:
        """Half of the rows, the other half, and another half, chosen by a hash of the seed.

        Rows lie example by example: every second one would miss what joins examples. In the last trial the draws of
        every example change their places.
        """
        if rows < 2:
            return
        generator = np.random.Generator(
            np.random.SFC64(derived_seed(derived_seed(self.seed, draws.start), _CHOICE_OF_ROWS))
        )
        first, second = (torch.from_numpy(generator.permutation(rows) < (rows + 1) // 2) for _ in range(2))
        stay = torch.arange(rows, device="cpu")
        yield _Trial(first, stay, upward=False)
        yield _Trial(~first, stay, upward=True)
        if rows > 2:
            order = torch.from_numpy(generator.permutation(len(draws))) if move else stay[: len(draws)]
            yield _Trial(second, (stay.view(-1, len(draws))[:, order]).reshape(-1), upward=False)

    def _tried(self, trial: "_Trial", draws: range, again: Magnitudes) -> Tensor:
        """What a pass gives in a trial."""
        try:
            return again(self._replaced(trial, draws, far=self.takes_any_values), draws)
        except Exception as error:
            if _is_of_the_machine(error):
                raise
        # Some models take only what a feature's own values can be: indices, for instance.
        try:
            return again(self._replaced(trial, draws, far=False), draws)
        except Exception as error:
            if _is_of_the_machine(error):
                raise
            raise CertificationError(
                "Expected a model that takes rows whose features are mirrored within the range that they have in a "
                "pass, by which the probe replaces rows, but it raised "
                f"{type(error).__name__}: {error} Set `check_rows`=False to sample without the probe, if you are sure "
                "that rows do not reach each other."
            ) from error

    def _replaced(self, trial: "_Trial", draws: range, *, far: bool) -> Noisy:
        noisy = []
        for made, perturbed in zip(self.make_noisy(draws), self.perturbed, strict=True):
            tensor, replaced = made[trial.order.to(made.device)], trial.replaced.to(made.device)
            if perturbed:
                tensor[replaced] = (
                    _far_from(tensor, replaced, upward=trial.upward) if far else _mirrored(tensor)[replaced]
                )
            noisy.append(tensor)
        return tuple(noisy)

    # -- is it the same later? -----------------------------------------------------------------------------

    def remember(self, draws: range, magnitudes: Tensor, circumstances: tuple[object, ...]) -> None:
        """Keep the first call of a run, to be repeated later.

        Args:
            draws: Its draws.
            magnitudes: What it gave, in memory of its own.
            circumstances: What decides how a call is computed.
        """
        self._first = _Call(draws, magnitudes, (*circumstances, _compiled_graphs()))

    def check_later(self, again: Magnitudes, circumstances: tuple[object, ...]) -> None:
        """Refuse a method that has become another since the first call.

        State that returns to what it was cannot be seen.

        Args:
            again: Calls the method as the first call was made.
            circumstances: What decides how it is computed now.

        Raises:
            CertificationError: The maps of the first call have changed.
        """
        call = self._first
        if call is None:
            return
        repeated = again(self.make_noisy(call.draws), call.draws)
        moved = self._moved(call.magnitudes, repeated)
        same = (*circumstances, _compiled_graphs()) == call.circumstances
        # Another graph, or another size of a call, may round otherwise.
        if bool(moved.any()) and (same or _are_many(moved)):
            unmodified = again(self.make_noisy(call.draws), call.draws)
            if bool((moved > _allowed(repeated, unmodified)).any()):
                raise _changed(call.draws)
        changed = changed_buffers(self.reachable, self.buffers)
        if changed:
            self.buffers = digests_of_buffers(self.reachable)
            warnings.warn(
                f"The model's buffers {', '.join(map(repr, changed))} changed while it was sampled, and its maps did "
                "not: a cache or a counter, presumably. If they can change its output, the certificate is wrong.",
                UserWarning,
                stacklevel=2,
            )

    # -- how far maps are apart ----------------------------------------------------------------------------

    def _moved(self, one: Tensor, two: Tensor) -> Tensor:
        """How much of each row's maps is another, in units of the most that arithmetic may cause.

        Shape (maps + 1, rows). The last line is about the magnitudes: 0, unless most of the rows have others, which
        chance hides from the maps.
        """
        if torch.equal(one, two):  # far cheaper than making maps, and the rule
            return torch.zeros((len(self.per_draw_maps) + 1, len(one)), dtype=torch.float64, device=one.device)
        moved = [_difference(*(f(magnitudes).values for magnitudes in (one, two))) for f in self.per_draw_maps]
        of_magnitudes = _difference(one, two)
        moved.append(of_magnitudes * (of_magnitudes.median() > 1))
        return torch.stack(moved).masked_fill(~torch.isfinite(two).all(dim=1), torch.inf)


def _are_many(moved: Tensor) -> bool:
    """Whether more rows differ than rounding explains: a rare row is so near to a kink of the network that it jumps."""
    return bool(((moved > 1).sum(dim=1) > 1 + moved.shape[1] // _ROWS_TO_A_KINK).any())


def _allowed(one: Tensor, two: Tensor) -> float:
    """How much two computations of one call may differ: nothing, unless bits show that arithmetic is not exact."""
    return 0.0 if torch.equal(one, two) else 1.0


def _difference(one: Tensor, two: Tensor) -> Tensor:
    """The difference in limits; 0 where rounding explains it."""
    difference = difference_in_limits(one, two)
    return difference if one.dtype == torch.bool else difference * (difference > _ROUNDING_IN_LIMITS)


@dataclass(frozen=True)
class _Trial:
    """A pass with other rows.

    Attributes:
        replaced: Which places get other rows, bool, shape (rows,).
        order: Which row stands in each place, shape (rows,).
        upward: Towards which end of the range the others lie.
    """

    replaced: Tensor
    order: Tensor
    upward: bool

    @property
    def kept(self) -> Tensor:
        """The places of rows that are not replaced."""
        return ~self.replaced

    @property
    def moves(self) -> bool:
        """Whether rows change their places."""
        return not torch.equal(self.order, torch.arange(len(self.order), device="cpu"))


def _is_of_the_machine(error: Exception) -> bool:
    """Whether an error says nothing about the rows: memory, files, interruptions."""
    return is_out_of_memory(error) or isinstance(error, OSError)


def _changed(draws: range) -> CertificationError:
    return CertificationError(
        f"Expected attributions that stay the same while they are sampled, got other maps of draws {draws.start} to "
        f"{draws.stop - 1} when they were computed again. The model changes in its forward pass: it keeps a state, a "
        "running statistic or a counter."
    )


def digests_of_buffers(reachable: Reachable) -> dict[tuple[int, str], str]:
    """What identifies the value of each buffer: some methods write back the value that they found."""
    return {key: digest(buffer) for key, buffer in reachable.buffers().items()}


def changed_buffers(reachable: Reachable, before: Mapping[tuple[int, str], str]) -> dict[str, Tensor]:
    """The buffers that have another value than before, by name."""
    now = reachable.buffers()
    return {key[1]: now[key] for key, known in before.items() if key in now and digest(now[key]) != known}


def _compiled_graphs() -> int:
    """How many graphs were compiled so far: another graph of one model rounds otherwise."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo is not None else 0


def _far_from(tensor: Tensor, chosen: Tensor, *, upward: bool) -> Tensor:
    """Rows mirrored, turned round, and squeezed into one half of the range of all, short of its ends.

    The extremes of a pass are then other ones as well, if the rows that have them are replaced.
    """
    low, high = tensor.amin(), tensor.amax()
    mirrored = high - tensor[chosen]  # from 0 to high − low
    turned = mirrored.flip(tuple(range(1, tensor.dim()))) if tensor.dim() > 1 else mirrored
    return (low + high) / 2 + _WIDTH_OF_REPLACED * (turned if upward else turned - (high - low))


def _mirrored(tensor: Tensor) -> Tensor:
    """Every entry mirrored within the range that it has in the rows."""
    return tensor.amin(dim=0) + tensor.amax(dim=0) - tensor
