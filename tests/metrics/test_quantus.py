"""The page about Quantus runs as printed and has the numbers that it measures. Skipped without Quantus."""

import re
from pathlib import Path

import numpy as np
import pytest
from captum.attr import Saliency
from networks import mlp

from captum_certified.metrics import quantus_explain_func

quantus = pytest.importorskip("quantus", reason="needs the extra quantus")

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "quantus.md"
BLOCK = re.compile(r"^```(?:\{code-cell\} )?python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_page_runs_and_its_table_has_the_numbers_it_measures():
    names, page = {"__name__": "howto"}, PAGE.read_text()
    for number, block in enumerate(BLOCK.findall(page), start=1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)  # noqa: S102
    told = {row[1]: (float(row[2]), float(row[3])) for row in ROW.finditer(page)}
    assert list(told) == ["MaxSensitivity", "AvgSensitivity", "LocalLipschitzEstimate"]
    for measure, printed in told.items():
        measured = [names["scores"][measure, name] for name in ("plain", "smoothed")]
        assert measured == pytest.approx(printed, rel=0.1)
        assert measured[0] < measured[1]  # what the text says of them


def test_a_measure_that_changes_the_model_gets_the_map_of_the_changed_model():
    """The model parameter randomisation test replaces the weights of one layer after the other."""
    model = mlp()
    metric = quantus.MPRT(similarity_func=quantus.similarity_func.correlation_spearman, disable_warnings=True)
    scores = metric(
        model=model,
        x_batch=np.random.default_rng(0).random((4, 1, 6)).astype(np.float64)[:, 0],
        y_batch=np.array([0, 1, 2, 0]),
        explain_func=quantus_explain_func(Saliency),
        channel_first=True,
    )
    assert min(min(one) for one in scores.values()) < 0.9
