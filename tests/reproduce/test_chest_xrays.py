"""The page on chest X-rays states what its record says, and a part of the record can be measured again."""

import csv
import json
import re
from pathlib import Path
from statistics import fmean, median

import pytest
import torch

from captum_certified import Certifier, SmoothedMap
from captum_certified.reproduce import EXPERIMENTS, Material
from captum_certified.reproduce.chest_xrays import _of_other_patients, margins

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "medical.md").read_text()
RECORD = json.loads((DOCS / "results" / "xrays.json").read_text())
NETWORKS = RECORD["summary"]
METHODS = ("Saliency", "Saliency, settings chosen for it", "Integrated gradients", "Grad-CAM")


def rows():
    """The rows of the stored table, with numbers where there are numbers."""

    def value(column, text):
        if column in ("training", "method", "groups"):
            return text or None
        if text in ("", "True", "False"):
            return {"": None, "True": True, "False": False}[text]
        return int(text) if text.isdigit() else float(text)

    with (DOCS / "results" / "xrays.csv").open() as file:
        return [{column: value(column, text) for column, text in row.items()} for row in csv.DictReader(file)]


def written(number, sign=""):
    """A number with two digits as pages write it: 0.52, −0.21, 1.00."""
    return f"{round(number, 2) + 0.0:{sign}.2f}".replace("-", "−")


def over_seeds(training, method, column):
    found = [networks for name, networks in NETWORKS.items() if name.startswith(f"{training},")]
    return [(network[method] if method else network)[column] for network in found if method in (None, *network)]


def accuracy_line(training):
    cells = [over_seeds(training, None, column) for column in ("accuracy", "normal", "pneumonia")]
    return f"| {training} | " + " | ".join(", ".join(map(written, cell)) for cell in cells) + " |"


def certificate_line(training, method):
    def mean(column, sign=""):
        return written(fmean(over_seeds(training, method, column)), sign)

    single = [mean(column) for column in ("class_kept", "brightness", "randomised", "other_patients")]
    triple = [
        " / ".join(mean(f"{column}_{radius}") for radius in ("0.1", "0.25", "0.5")) for column in ("own", "plain")
    ]
    medians = [
        ", ".join(written(value, "+") for value in over_seeds(training, method, f"median_margin_{radius}"))
        for radius in ("0.1", "0.25", "0.5")
    ]
    return f"| {training} | {method} | " + " | ".join([*single, *triple, *medians]) + " |"


def test_the_tables_of_the_page_are_those_of_the_record():
    expected = [accuracy_line(training) for training in ("plain", "noise")]
    expected += [
        certificate_line(training, method)
        for method in METHODS
        for training in ("plain", "noise")
        if over_seeds(training, method, "images")
    ]
    assert [line for line in PAGE.splitlines() if line.startswith(("| plain |", "| noise |"))] == expected


def test_the_record_is_the_summary_of_its_table():
    summary = EXPERIMENTS["xrays"].summary(rows())
    assert list(summary) == list(NETWORKS)
    for network, of_network in NETWORKS.items():
        for name, value in of_network.items():
            assert summary[network][name] == pytest.approx(value), (network, name)
    settings = json.loads(json.dumps(EXPERIMENTS["xrays"].settings("cpu")))
    assert {**settings, "material": RECORD["settings"]["material"]} == RECORD["settings"]


def test_the_figure_shows_the_first_rows_of_the_table():
    shown = [row for row in rows() if (row["training"], row["seed"], row["method"]) == ("noise", 0, "Saliency")][:4]
    stated = [
        (row["image"] + 1, row["plain_0.5"], round(margin, 2), round(row["other_patients"], 1))
        for row, margin in zip(shown, margins(shown, 0.5), strict=True)
    ]
    pattern = r"^- image (\d): (0\.\d) certified, margin \+(0\.\d\d); other patients (\d\.\d)$"
    found = re.findall(pattern, PAGE, flags=re.MULTILINE)
    assert [tuple(map(float, cells)) for cells in found] == stated


def listed(method, column, training="noise", sign=None):
    """The numbers of the training seeds, as the sentences of the page list them."""
    values = over_seeds(training, method, column)
    return ", ".join(f"{value:g}" if sign is None else written(value, sign) for value in values)


def test_the_sentences_of_the_page_are_those_of_the_record():
    page = " ".join(PAGE.split())
    medians = [listed("Saliency", "median_margin_0.5", training, "+") for training in ("noise", "plain")]
    positive = [listed("Saliency", "positive_0.5", training) for training in ("noise", "plain")]
    normal = [listed(None, "normal", training, "") for training in ("noise", "plain")]
    kept = [listed("Saliency", "class_kept_normal", training, "") for training in ("plain", "noise")]
    radii = [listed("Saliency", "largest_radius", "plain"), listed("Grad-CAM", "largest_radius")]
    for sentence in (
        f"The median margin of Saliency at ρ = 0.5 is {medians[0]} for three noise-trained networks, and {medians[1]}",
        f"recognise {normal[0]} of the normal test images, the plain ones {normal[1]}.",
        f"is positive for {positive[0]} of 100 images after training under noise, and for {positive[1]} after plain",
        f"positive up to ρ = {radii[0]}. With",
        f"positive up to ρ = {radii[1]}. The",
        f"the plain networks keep {kept[0]} and the noise-trained ones {kept[1]} (Saliency",
    ):
        assert sentence in page
    assert sum(over_seeds("noise", "Saliency", "above_other_patients_0.5")) == 0
    assert sum(over_seeds("noise", "Saliency", "images")) == 300
    assert over_seeds("plain", "Saliency, settings chosen for it", "median_margin_0.5") == pytest.approx([0, 0, 0])
    kept = [over_seeds(training, "Saliency", "class_kept_pneumonia") for training in ("plain", "noise")]
    assert min(map(min, kept)) >= 0.93
    for network in NETWORKS.values():
        for method in set(METHODS) & set(network):
            assert network[method]["other_patients"] > max(network[method]["own_0.5"], network[method]["plain_0.5"])
            assert method != "Grad-CAM" or network[method]["median_margin_0.5"] <= 0


def test_a_margin_is_what_is_certified_beyond_the_best_comparison():
    row = {"chance": 0.2, "brightness": 0.5, "randomised": 0.3, "plain_0.25": 0.4}
    assert margins([row, {**row, "brightness": 0.0}], 0.25) == pytest.approx([-0.1, 0.1])


def test_the_sets_of_other_patients_do_not_count_the_own_one():
    counts = torch.tensor([[9, 8, 0, 0, 1, 2], [9, 8, 0, 1, 0, 2], [0, 0, 9, 8, 1, 2]])
    smoothed = SmoothedMap.from_counts(counts.unsqueeze(1).unsqueeze(1), n_samples=10, stdevs=1.0)
    own = Certifier().top_k(smoothed, k=2, radius=0.1)
    # The first two share their set. The third shares nothing with the set of the other two.
    assert _of_other_patients(own).tolist() == [1.0, 1.0, 0.0]


@pytest.mark.slow
def test_a_network_trained_under_noise_has_its_margins_again(shared_data):
    """A minute on one core. Sums in another order change a few counts, so single images may move by one feature."""
    material, experiment = Material(data=shared_data), EXPERIMENTS["xrays"]
    if not (shared_data / "pneumoniamnist.npz").is_file():
        pytest.skip(f"no pneumoniamnist.npz in {shared_data}")
    if material.identity(experiment.uses) != RECORD["settings"]["material"]:
        pytest.skip("this copy of PneumoniaMNIST is not the one that was measured")
    parts = {part.name: part for part in experiment.parts(material, "cpu")}
    [accuracies] = parts["noise-0"].compute()
    for name in ("accuracy", "normal", "pneumonia"):
        assert accuracies[name] == pytest.approx(NETWORKS["noise, seed 0"][name], abs=0.02)
    again, stored = parts["noise-0-saliency"].compute(), NETWORKS["noise, seed 0"]["Saliency"]
    assert median(margins(again, 0.5)) == pytest.approx(stored["median_margin_0.5"], abs=0.03)
    assert fmean(row["plain_0.5"] for row in again) == pytest.approx(stored["plain_0.5"], abs=0.03)
    assert fmean(row["other_patients"] for row in again) == pytest.approx(stored["other_patients"], abs=0.03)
