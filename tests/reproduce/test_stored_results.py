"""What docs/results states is what its rows say."""

import json

import pytest
from stored_results import RESULTS, ROWS_ARE_HERE, rows

from captum_certified.reproduce import EXPERIMENTS
from captum_certified.reproduce.certificate_rows import peak_rows, reached_at
from captum_certified.reproduce.experiment import distinct, where

CERTIFICATES = (RESULTS / "certificates.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.skipif(not ROWS_ARE_HERE, reason="the source archive has no rows")


@pytest.mark.parametrize("record", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_record_is_the_summary_of_its_rows(record):
    stored = json.loads(record.read_text(encoding="utf-8"))["summary"]
    assert json.loads(json.dumps(EXPERIMENTS[record.stem].summary(rows(record.stem)))) == stored


@pytest.mark.parametrize("name", ["sparsified", "relaxed", "unclipped"])
def test_the_tables_over_sigma_have_the_numbers_of_their_rows(name):
    measured = rows(name)
    few, many = distinct(measured, "draws")[0], distinct(measured, "draws")[-1]
    for bound in dict.fromkeys(row["bound"] for row in measured):
        overlaps = {
            (sigma, tau): reached_at(where(measured, bound=bound, sigma=sigma, tau=tau, draws=few))
            for sigma in distinct(measured, "sigma")
            for tau in distinct(measured, "tau")
        }
        (sigma, tau), peak = max(overlaps.items(), key=lambda item: item[1])
        cells = [f"{overlaps[sigma, 0.1]:.3f}" for sigma in distinct(measured, "sigma")]
        cells.append(f"{peak:.3f} (σ = {sigma:g}, τ = {tau:g})" if float(f"{peak:.3f}") else "0.000")
        if many > few:
            cells.append(f"{reached_at(peak_rows(measured, bound)):.3f}")
        assert f"| `{bound}` | {' | '.join(cells)} |" in CERTIFICATES.splitlines()


def test_the_table_of_figure_15_shows_what_its_figure_shows():
    measured = rows("lecuyer")
    for bound, name in (("theorem2", "`theorem2`"), ("lecuyer", "Lecuyer et al.")):
        cells = [f"{reached_at(peak_rows(measured, bound), r):.3f}" for r in (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1)]
        assert f"| {name} | {' | '.join(cells)} |" in CERTIFICATES.splitlines()


def test_the_largest_overlaps_of_scaled_maps_are_those_of_their_rows():
    measured = rows("scaled")
    for kind in ("scaled", "quadratic"):
        cells = []
        for bound in ("theorem2", "empirical_bernstein", "spectral"):
            of_bound = where(measured, map=kind, bound=bound)
            cells.append(max(number for row in of_bound for column, number in row.items() if column[:8] == "overlap_"))
        assert f"| {kind} | {' | '.join(f'{cell:.4f}' for cell in cells)} |" in CERTIFICATES.splitlines()
