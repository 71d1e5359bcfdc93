"""The pilot: rows, forecasts, the best row of each method, and its text."""

import json
from dataclasses import replace

import pytest
from captum.attr import InputXGradient, Saliency
from networks import cnn, images

from captum_certified import CertificationError, Certifier, InvalidInputError, Pilot, SparsifiedSmoothGrad, pilot
from captum_certified.randomness import derived_seed

SETTINGS = {"k": 0.2, "radius": 0.02, "nt_samples": 2048, "pilot_samples": 256, "target": 1, "seed": 3}


@pytest.fixture(scope="module")
def table():
    model = cnn()
    saliency, product = Saliency(model), InputXGradient(model)
    explainers = [SparsifiedSmoothGrad(method, tau=tau) for method in (saliency, product) for tau in (0.1, 0.3)]
    return pilot(explainers, images(4), stdevs=[0.1, 0.4], groups=[None, "patches:2"], **SETTINGS)


def test_every_setting_has_a_row(table):
    assert len(table.rows) == 2 * 2 * 2 * 2
    assert len({(row.method, row.tau, row.sigma, row.groups) for row in table.rows}) == 16
    assert {row.groups for row in table.rows} == {"none", "patches:2"}
    assert all(row.examples == 4 and row.seconds > 0 for row in table.rows)


def test_rows_are_the_means_of_certificates(table):
    x = images(4)
    wanted = ("Saliency", 0.3, 0.4, "none")
    row = next(row for row in table.rows if (row.method, row.tau, row.sigma, row.groups) == wanted)
    model = cnn()
    explainer = SparsifiedSmoothGrad(Saliency(model), tau=0.3)
    # The first method's settings come first: σ by σ, groups by groups.
    smoothed = explainer.sample(x, nt_samples=256, stdevs=0.4, target=1, seed=derived_seed(3, 2))
    own = Certifier().top_k(smoothed.as_if_of(2048), k=0.2, radius=0.02)
    assert row.forecast_own == pytest.approx(float(own.overlap_fraction.mean()))
    assert row.forecast_plain == pytest.approx(float(own.of_plain.overlap_fraction.mean()))
    assert row.margin == pytest.approx(float(own.of_plain.margin.mean()))
    assert row.class_kept == pytest.approx(float(smoothed.class_kept.mean()))
    assert row.plain_overlap == pytest.approx(float(own.plain_overlap.double().mean()) / own.k)
    assert row.margin_error == pytest.approx(float(own.of_plain.margin.std()) / 2)
    assert row.randomised == pytest.approx(float(own.of_plain.randomised.mean()))


def test_the_best_row_has_the_largest_margin_where_the_model_still_sees(table):
    for method, best in table.best.items():
        rows = [row for row in table.rows if row.method == method and row.is_seen]
        assert best.margin == max(row.margin for row in rows)
    blind = [replace(row, class_kept=0.4) for row in table.rows]
    assert replace(table, rows=tuple(blind)).best["Saliency"].margin == max(
        row.margin for row in blind if row.method == "Saliency"
    )
    one_sees = (replace(blind[0], class_kept=0.5, margin=-0.9), *blind[1:])
    assert replace(table, rows=one_sees).best["Saliency"] is one_sees[0]


def test_it_says_when_no_row_has_a_margin(table):
    hopeless = replace(table, rows=tuple(replace(row, margin=-0.1) for row in table.rows))
    assert hopeless.verdict.startswith("No setting has a margin at this radius, although the model sees its class")
    blind = replace(hopeless, rows=tuple(replace(row, class_kept=0.2) for row in hopeless.rows))
    assert blind.verdict.startswith("No setting has a margin: most noisy copies lose their class.")
    for error, words in ((0.01, "A margin"), (0.09, "A margin, though hardly beyond its error,")):
        first = replace(table.rows[0], margin=0.1, margin_error=error, class_kept=0.9)
        hopeful = replace(table, rows=(first, *hopeless.rows[1:]))
        assert hopeful.verdict == f"{words} is to be expected for Saliency. Certify once, with another seed."
    assert "It proves nothing." in repr(table)
    assert repr(table).count("\n*") == 2


def test_table_json_and_frame_agree(table):
    record = json.loads(table.to_json())
    assert record["kind"] == "pilot"
    assert [row["margin"] for row in record["rows"]] == [row.margin for row in table.rows]
    assert record["best"]["Saliency"]["sigma"] == table.best["Saliency"].sigma
    pandas = pytest.importorskip("pandas")
    frame = table.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["margin"]) == [row.margin for row in table.rows]


def test_rows_are_reported_as_they_are_made_and_an_interrupt_keeps_them():
    seen = []

    def interrupt(row):
        seen.append(row)
        if len(seen) == 2:
            raise KeyboardInterrupt

    explainer = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.2)
    with pytest.raises(KeyboardInterrupt):
        pilot(explainer, images(1), stdevs=[0.1, 0.2, 0.4], on_row=interrupt, **SETTINGS)
    assert [row.sigma for row in seen] == [0.1, 0.2]
    assert seen[0].margin_error is None
    assert isinstance(repr(Pilot(rows=tuple(seen), k=0.2, radius=0.1, nt_samples=9, pilot_samples=256, seed=0)), str)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stdevs": []}, "Expected explainers, `stdevs` and `groups` to try, got 1, 0 and 1"),
        ({"groups": []}, "Expected explainers, `stdevs` and `groups` to try, got 1, 1 and 0"),
        ({"pilot_samples": 64}, "`pilot_samples`"),
        ({"radius": -1}, "`radius`"),
        ({"k": 0}, "`k`"),
        ({"bound": "nice"}, "`bound`"),
    ],
)
def test_impossible_pilots_are_refused(change, message):
    explainer = SparsifiedSmoothGrad(Saliency(cnn()), tau=0.2)
    with pytest.raises(InvalidInputError, match=message):
        pilot(explainer, images(1), **{"stdevs": 0.1, **SETTINGS, **change})
    with pytest.raises(CertificationError, match="Expected a bound that certifies the plain map's top set"):
        pilot(explainer, images(1), stdevs=0.1, bound="theorem2", **SETTINGS)
