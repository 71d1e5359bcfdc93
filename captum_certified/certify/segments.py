"""Ranges of draws of some of the rows of a batch, as one run of all rows would have them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from captum_certified.attr import SmoothedAttribution
from captum_certified.attr.request import checked_block
from captum_certified.attr.rows import arguments_of_rows, masks_of_rows, separable
from captum_certified.exceptions import InvalidInputError
from captum_certified.smoothing import SmoothedMap, block_draws, select_rows

__all__ = ["Segments"]

Inputs = Tensor | tuple[Tensor, ...]


class Segments:
    """Samples one range of draws after another, of fewer and fewer rows.

    Seed, size of the passes and whether to take a covariance are those of the first range, whatever rows are left.

    Args:
        explainer: What is sampled.
        inputs: All rows.
        settings: Arguments of the explainer's ``sample`` for all rows.

    Raises:
        InvalidInputError: A setting is not what was expected.
    """

    def __init__(self, explainer: SmoothedAttribution, inputs: Inputs, settings: Mapping[str, Any]) -> None:
        if "first_draw" in settings:
            raise InvalidInputError(
                f"Expected no `first_draw` with `overlap`, got {settings['first_draw']!r}: its looks count from draw 0."
            )
        self.explainer = explainer
        self.inputs = inputs
        self.settings = dict(settings)
        self.block = checked_block(settings["covariance"], block_draws(binary=explainer.per_draw_map.binary))
        self.first: SmoothedMap | None = None

    def __call__(self, draws: range, rows: Tensor | None = None) -> SmoothedMap:
        """The map of a range of draws.

        Args:
            draws: Their numbers; the first range starts at 0.
            rows: Which rows, integers of shape (M,); at first all.
        """
        if self.first is None or rows is None:
            self.first = self.explainer.sample(self.inputs, nt_samples=len(draws), **self.settings)
            self._fix(self.first)
            return self.first
        total, arguments = len(self.first), {**self.settings, **(self.settings["attribution_kwargs"] or {})}
        apart = separable(arguments, total)
        inputs, settings = self._of_rows(rows, total) if apart else (self.inputs, self.settings)
        smoothed = self.explainer.sample(inputs, nt_samples=len(draws), first_draw=draws.start, **settings)
        chosen = smoothed if apart else select_rows(smoothed, rows)
        # Arguments and groups of some rows have other digests than those of all, but mean the same.
        setup = {**select_rows(self.first, rows).setup, "stochastic": smoothed.setup["stochastic"]}
        return replace(chosen, setup=setup)

    def _fix(self, first: SmoothedMap) -> None:
        """What the first range decided holds for all."""
        self.settings |= {
            "seed": first.seed,
            "nt_samples_batch_size": first.setup["nt_samples_batch_size"],
            "check_rows": False,
        }
        if self.settings["covariance"] == "auto":
            self.settings["covariance"] = first.covariance is not None

    def _of_rows(self, rows: Tensor, total: int) -> tuple[Inputs, dict[str, Any]]:
        which: list[int] = rows.tolist()
        if len(which) == total:
            return self.inputs, self.settings
        inputs = tuple(x[which] for x in self.inputs) if isinstance(self.inputs, tuple) else self.inputs[which]
        hidden = self.settings["attribution_kwargs"]
        masks = {name: masks_of_rows(self.settings[name], total, which) for name in ("groups", "region")}
        return inputs, {
            **arguments_of_rows(self.settings, total, which),
            **masks,
            "attribution_kwargs": hidden and arguments_of_rows(hidden, total, which),
        }
