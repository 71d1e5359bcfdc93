"""Samples more draws for the rows of a batch that are still running, as one run of all rows would."""

from dataclasses import replace

from torch import Tensor

from captum_certified.attr.run import SamplingRun
from captum_certified.maps import SmoothedMap, select_rows

__all__ = ["Segments"]


class Segments:
    """Samples one range of draws after another, of fewer and fewer rows.

    Seed, size of the passes and whether to take a covariance are those of the first range, whatever rows are left. Rows
    that have other maps without the rest of the batch are sampled together until the last of them stops: a part of them
    would be another explanation.

    Args:
        run: The run of all rows.
    """

    def __init__(self, run: SamplingRun) -> None:
        self.run = run
        self.first: SmoothedMap | None = None

    def __call__(self, draws: range, rows: Tensor | None = None) -> SmoothedMap:
        """The map of a range of draws.

        Args:
            draws: Their numbers; the first range starts at 0.
            rows: Which rows, integers of shape (M,); at first all.
        """
        if self.first is None or rows is None:
            [self.first] = self.run.last(draws)
            if self.run.request.covariance == "auto":
                taken = self.first.covariance is not None
                self.run.request = replace(self.run.request, covariance=taken)
            return self.first
        part = self.run.of_rows(rows) if len(rows) < len(self.first) else None
        if part is not None:
            [smoothed] = part.last(draws)
            self.run.check_later()
            if not part.rows_belong_together:  # a method may draw random numbers in some passes alone
                return smoothed
        return select_rows(self.run.last(draws)[0], rows)
