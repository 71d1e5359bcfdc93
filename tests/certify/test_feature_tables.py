"""Tables of single features: columns, frames and CSV files."""

import csv
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import Saliency
from networks import GateNet, images

from captum_certified import Certifier, InvalidInputError, SmoothedMap, SparsifiedSmoothGrad
from captum_certified.theory import shift, top_k_mask

RNG = np.random.default_rng(0)
COUNTS = torch.from_numpy(RNG.binomial(3000, RNG.beta(0.4, 1.0, (2, 3, 2, 2))))
MAP = SmoothedMap.from_counts(COUNTS, n_samples=torch.tensor([3000, 4000]), stdevs=0.25, max_squared_norm=6.0)
INTERVAL_BOUNDS = ("best", "clopper_pearson", "kl", "empirical_bernstein", "hoeffding", "theorem2")
MAKERS = {
    "top_k": lambda certifier, m: certifier.top_k(m, k=4, radius=0.01),
    "top_k of fresh draws": lambda certifier, m: certifier.top_k(m, k=4, radius=0.01, fresh_draws=500),
    "rank": lambda certifier, m: certifier.rank(m, radius=0.01),
    "rank of fresh draws": lambda certifier, m: certifier.rank(m, radius=0.01, fresh_draws=500),
    "median_rank": lambda certifier, m: certifier.median_rank(m, radius=0.01),
    "selection": lambda certifier, m: certifier.selection(m, radius=0.01),
}
COLUMNS = {
    "top_k": ["rank", "radius"],
    "top_k of fresh draws": ["rank"],
    "rank": ["rank"],
    "rank of fresh draws": ["rank"],
    "median_rank": ["rank"],
    "selection": ["selected", "rejected", "radius"],
}
kinds = pytest.mark.parametrize("kind", list(MAKERS))


def with_region():
    mask = torch.zeros(1, 3, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.25)
    return explainer.sample(images(2, shape=(3, 4, 4)), nt_samples=60, stdevs=0.1, seed=0, target=0, region=mask), mask


@kinds
def test_a_table_has_one_row_for_each_feature_of_each_example(kind):
    frame = MAKERS[kind](Certifier(), MAP).to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["example", "feature", "mean", "lower", "upper", *COLUMNS[kind]]
    assert frame.shape[0] == 24
    assert frame["example"].tolist() == [0] * 12 + [1] * 12
    assert frame["mean"].tolist() == MAP.features.flatten().tolist()
    assert frame["feature"].tolist()[:5] == ["0,0,0", "0,0,1", "0,1,0", "0,1,1", "1,0,0"]
    assert frame["feature"].tolist()[:12] == frame["feature"].tolist()[12:]
    for position, mean in zip(frame["feature"][12:], frame["mean"][12:], strict=True):
        assert mean == MAP.mean[1][tuple(map(int, position.split(",")))]


def test_tables_about_fresh_draws_have_wider_bounds():
    """The bounds are wider than for the exact map. The ranks equal the ranks of the rank certificate."""
    fresh, exact = (MAKERS[kind](Certifier(), MAP).columns() for kind in ("top_k of fresh draws", "top_k"))
    ranks = MAKERS["rank of fresh draws"](Certifier(), MAP).columns()
    assert fresh["rank"] == ranks["rank"]
    assert fresh["lower"] == ranks["lower"]
    assert (np.array(fresh["lower"]) <= np.array(exact["lower"])).all()
    assert (np.array(fresh["upper"]) >= np.array(exact["upper"])).all()
    assert fresh["rank"] != exact["rank"]


def test_region_certificates_mark_the_features_of_the_region():
    smoothed_map, mask = with_region()
    frame = Certifier().region(smoothed_map, radius=0.01).to_frame()
    assert list(frame.columns) == ["example", "feature", "mean", "in_region"]
    assert frame["in_region"].tolist() == mask.expand(2, -1, -1, -1).flatten().tolist()


@pytest.mark.parametrize("bound", INTERVAL_BOUNDS)
def test_scores_lie_between_the_shifted_intervals(bound):
    for kind in ("top_k", "rank", "selection"):
        columns = MAKERS[kind](Certifier(bound=bound), MAP).columns()
        lower, mean, upper = (np.array(columns[name]) for name in ("lower", "mean", "upper"))
        assert (lower < mean).all()
        assert (mean < upper).all()
    if bound in ("hoeffding", "theorem2"):
        width = np.sqrt(np.log(2 * 12 / 0.05) / (2 * np.repeat([3000, 4000], 12)))
        np.testing.assert_allclose(lower, shift(np.clip(mean - width, 0, 1), -0.01 / 0.25), rtol=1e-9)
        np.testing.assert_allclose(upper, shift(np.clip(mean + width, 0, 1), 0.01 / 0.25), rtol=1e-9)


@pytest.mark.parametrize("bound", INTERVAL_BOUNDS)
def test_ranks_and_radii_equal_the_other_certificates(bound):
    certifier = Certifier(bound=bound)
    for radius in (0.0, 0.005, 0.05):
        columns = certifier.top_k(MAP, k=4, radius=radius).columns()
        assert columns["rank"] == certifier.rank(MAP, radius=radius).feature_rank.flatten().tolist()
        if bound != "theorem2":  # the numbers of Definition 3.1 are one more than the proved ranks
            stays = certifier.rank(MAP, radius=radius).in_top_k(4).flatten().tolist()
            assert [far > radius for far in columns["radius"]] == stays
    selection = certifier.selection(MAP, radius=0.01)
    assert selection.columns()["radius"] == selection.radius.flatten().tolist()
    assert selection.columns()["selected"] == selection.selected.flatten().tolist()
    assert selection.columns()["rejected"] == selection.rejected.flatten().tolist()


def test_only_features_of_the_top_set_can_be_certified_to_stay_in_it():
    columns = Certifier().top_k(MAP, k=4, radius=0.0).columns()
    members = top_k_mask(MAP.features.numpy(), 4)[0].flatten()
    radii = np.array(columns["radius"])
    assert (radii[~members] == 0).all()
    assert (radii[members] > 0).any()
    everything = Certifier().top_k(MAP, k=12, radius=0.0).columns()
    assert everything["radius"] == [np.inf] * 24


def test_statements_about_single_features_allow_no_violations():
    strict, loose = (Certifier(bound="kl", violations=v).top_k(MAP, k=4, radius=0.01).columns() for v in (0, 2))
    assert strict == loose


# -- names -------------------------------------------------------------------------------------------------------


def test_names_of_features_of_vectors_tuples_and_groups():
    flat = SmoothedMap.from_counts(torch.tensor([[9, 5, 1]]), n_samples=10, stdevs=0.1)
    assert Certifier().top_k(flat, k=1, radius=0.0).columns()["feature"] == ["0", "1", "2"]
    pair = SmoothedMap.from_counts((torch.tensor([[9, 1]]), torch.tensor([[[5], [3]]])), n_samples=10, stdevs=0.1)
    assert Certifier().top_k(pair, k=1, radius=0.0).columns()["feature"] == ["0,0", "0,1", "1,0,0", "1,1,0"]
    single = SmoothedMap.from_counts((torch.tensor([[9, 1]]),), n_samples=10, stdevs=0.1)
    assert Certifier().top_k(single, k=1, radius=0.0).columns()["feature"] == ["0,0", "0,1"]
    explainer = SparsifiedSmoothGrad(Saliency(GateNet((3, 4, 4))), tau=0.5)
    rows = torch.arange(4).view(1, 1, 4, 1).expand(1, 3, 4, 4)
    grouped = explainer.sample(images(2, shape=(3, 4, 4)), nt_samples=9, stdevs=0.1, seed=1, target=0, groups=rows)
    assert Certifier().top_k(grouped, k=1, radius=0.0).columns()["feature"] == ["0", "1", "2", "3"] * 2


@kinds
def test_features_may_be_named(kind, tmp_path):
    certificate = MAKERS[kind](Certifier(), MAP)
    names = [f"feature {i}, or so" for i in range(12)]
    assert certificate.columns(feature_names=names)["feature"] == names * 2
    assert certificate.to_frame(feature_names=tuple(names))["feature"].tolist() == names * 2
    certificate.to_csv(tmp_path / "table.csv", feature_names=names)
    assert pd.read_csv(tmp_path / "table.csv")["feature"].tolist() == names * 2


@pytest.mark.parametrize("names", [[], ["one"], ["a"] * 11, ["a"] * 24])
def test_another_number_of_names_is_refused(names, tmp_path):
    certificate = Certifier().top_k(MAP, k=4, radius=0.01)
    for call in (
        lambda: certificate.columns(feature_names=names),
        lambda: certificate.to_frame(feature_names=names),
        lambda: certificate.to_csv(tmp_path / "table.csv", feature_names=names),
    ):
        with pytest.raises(InvalidInputError, match=rf"Expected 12 `feature_names`, got {len(names)}\."):
            call()
    assert not (tmp_path / "table.csv").exists()


# -- CSV -----------------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("bound", INTERVAL_BOUNDS)
def test_csv_equals_the_frame_to_the_last_digit(kind, bound, tmp_path):
    if bound == "theorem2" and "fresh" in kind:
        pytest.skip("theorem2 states nothing about fresh draws")
    certificate = MAKERS[kind](Certifier(bound=bound), MAP)
    certificate.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == certificate.to_frame().to_csv(index=False, lineterminator="\n")


def test_csv_of_regions_and_of_infinite_radii(tmp_path):
    everything = Certifier().top_k(MAP, k=12, radius=0.0)
    for certificate in (Certifier().region(with_region()[0], radius=0.01), everything):
        certificate.to_csv(tmp_path / "table.csv")
        assert (tmp_path / "table.csv").read_text() == certificate.to_frame().to_csv(index=False, lineterminator="\n")


def test_frames_need_pandas_and_csv_does_not(tmp_path, monkeypatch):
    certificate = Certifier().top_k(MAP, k=4, radius=0.01)
    monkeypatch.setitem(sys.modules, "pandas", None)
    certificate.to_csv(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["example", "feature", "mean", "lower", "upper", "rank", "radius"]
    assert len(rows) == 24
    assert rows[0][:2] == ["0", "0,0,0"]
    assert float(rows[0][2]) == float(MAP.features[0, 0])
    with pytest.raises(ImportError, match="pandas"):
        certificate.to_frame()
