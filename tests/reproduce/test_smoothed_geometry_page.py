"""The page on smooth surfaces states what its record says, and the record has the directions that the page names."""

import csv
import json
from pathlib import Path

from captum_certified.reproduce import EXPERIMENTS

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE = (RESULTS / "geometry.md").read_text()
RECORD = json.loads((RESULTS / "geometry.json").read_text())
NETWORKS = RECORD["summary"]["networks"]
CORRELATIONS = RECORD["summary"]["rank_correlation"]
RADII = ("0.1", "0.2", "0.3")
HEAVIEST = ("spectral norm, 0.25", "curvature, 2.5", "smooth surface, 2.5")
PLAIN = NETWORKS["plain"]


def rows():
    """The rows of the stored table."""

    def value(column, text):
        return text if column in ("network", "loss") else int(text) if text.isdigit() else float(text)

    with (RESULTS / "geometry.csv").open() as file:
        return [{column: value(column, text) for column, text in row.items()} for row in csv.DictReader(file)]


def mean(network, measure, radius=None):
    return (network if radius is None else network[f"ε = {radius}"])[measure]["mean"]


# -- the page ------------------------------------------------------------------------------------------------------


def with_range(values, digits=2, scale=1):
    """Mean, lowest and highest as the page writes them: 0.71 (0.64–0.84)."""
    texts = [f"{scale * values[name]:.{digits}f}" for name in ("mean", "lowest", "highest")]
    return f"{texts[0]} ({texts[1]}–{texts[2]})"


def robustness_line(name):
    network = NETWORKS[name]
    cells = [with_range(network["accuracy"], 1, 100), with_range(network["eigenvalue"])]
    cells += [with_range(network[f"ε = {radius}"]["overlap"]) for radius in RADII]
    return f"| {name} | " + " | ".join(cells) + " |"


def sensitivity_line(name):
    network = NETWORKS[name]
    cells = [f"{mean(network, measure, '0.1'):.2f}" for measure in ("sampled_few", "sampled", "attacked")]
    cells += [with_range(network[f"ε = {radius}"]["ratio"]) for radius in RADII]
    return f"| {name} | " + " | ".join(cells) + " |"


def transfer_line(name):
    network = NETWORKS[name]
    cells = [with_range(network[f"ε = {radius}"]["transferred"]) for radius in RADII]
    cells += [with_range(network["ε = 0.1"]["lipschitz"])]
    return f"| {name} | " + " | ".join(cells) + " |"


def correlation_line(measure, label):
    cells = [f"{CORRELATIONS[f'ε = {radius}'][measure]:+.2f}".replace("-", "−") for radius in RADII]
    return f"| {label} | " + " | ".join(cells) + " |"


CORRELATED = {
    "overlap": "overlap",
    "transferred": "overlap of integrated gradients",
    "attacked": "SENS-MAX by the attack",
    "lipschitz": "Lipschitz quotient",
}


def tables():
    """The lines of the four tables, in the order of the page."""
    lines = [line(name) for line in (robustness_line, sensitivity_line, transfer_line) for name in NETWORKS]
    return lines + [correlation_line(measure, label) for measure, label in CORRELATED.items()]


def test_the_tables_of_the_page_are_those_of_the_record():
    first = {*NETWORKS, *CORRELATED.values()}
    stated = [line for line in PAGE.splitlines() if line.startswith("| ") and line.split(" | ")[0][2:] in first]
    assert stated == tables()


def test_the_record_is_the_summary_of_its_table():
    summary = EXPERIMENTS["geometry"].summary(rows())
    assert json.dumps(summary, sort_keys=True) == json.dumps(RECORD["summary"], sort_keys=True)
    settings = json.loads(json.dumps(EXPERIMENTS["geometry"].settings("cpu")))
    assert {**settings, "material": RECORD["settings"]["material"]} == RECORD["settings"]


# -- the claims ----------------------------------------------------------------------------------------------------


def test_each_penalty_lowers_the_top_eigenvalue_for_each_seed():
    """The ranges over seeds overlap, because the plain networks differ much, so each seed is compared with itself."""
    found = {(row["network"], row["seed"]): row["eigenvalue"] for row in rows()}
    assert all(found[name, seed] < found["plain", seed] for name in HEAVIEST for seed in range(3))
    for name in HEAVIEST:
        assert mean(NETWORKS[name], "eigenvalue") < 0.75 * mean(PLAIN, "eigenvalue")


def test_smoother_networks_keep_more_of_their_maps_and_change_less():
    for radius in RADII:
        for name in HEAVIEST:
            assert mean(NETWORKS[name], "overlap", radius) > mean(PLAIN, "overlap", radius)
            assert mean(NETWORKS[name], "lipschitz", radius) < 0.6 * mean(PLAIN, "lipschitz", radius)
        assert CORRELATIONS[f"ε = {radius}"]["overlap"] < -0.1  # weak at ε = 0.3
        assert CORRELATIONS[f"ε = {radius}"]["lipschitz"] > 0.3


def test_robustness_costs_accuracy():
    for name in HEAVIEST:
        assert mean(NETWORKS[name], "accuracy") < mean(PLAIN, "accuracy")


def test_sampling_finds_less_than_the_attack_and_falls_behind_as_the_radius_grows():
    """In the median over images by a fifth at least. On a single image, samples may find slightly more."""
    assert RECORD["summary"]["lowest_ratio"] > 0.95
    for network in NETWORKS.values():
        ratios = [mean(network, "ratio", radius) for radius in RADII]
        assert 1.2 < ratios[0] < ratios[1] < ratios[2]
        for radius in RADII:
            assert mean(network, "sampled_few", radius) < mean(network, "sampled", radius)


def test_the_attack_moves_integrated_gradients_about_as_much_whatever_the_smoothness():
    for radius in RADII:
        for name in HEAVIEST:
            assert abs(mean(NETWORKS[name], "transferred", radius) - mean(PLAIN, "transferred", radius)) < 0.05
