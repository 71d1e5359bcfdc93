"""What the paper says of each figure, asserted of the stored results, and the numbers of the page docs/paper.md.

Each claim is also tried with two names of the record exchanged, as if it had turned round, and must fail then.
"""

import itertools
import json
import re
from pathlib import Path
from statistics import fmean

import pytest
from stored_results import RESULTS, ROWS_ARE_HERE, record, rows

from captum_certified.reproduce import EXPERIMENTS

pytestmark = pytest.mark.skipif(not ROWS_ARE_HERE, reason="the source archive has no rows")
PAGE = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
INDEX = (RESULTS / "index.md").read_text(encoding="utf-8")


def written(number, digits=2):
    return f"{number:.{digits}f}"


def summary(name):
    return record(name)["summary"]


def exchanged(value, one, other):
    """The same record with two names exchanged wherever they occur."""
    if isinstance(value, dict):
        names = {one: other, other: one}
        return {names.get(name, name): exchanged(of, one, other) for name, of in value.items()}
    return value


def assert_holds(claim, value, *exchanges):
    """The claim holds of a value, and of none in which two names were exchanged."""
    assert claim(value)
    for one, other in exchanges:
        assert not claim(exchanged(value, one, other)), f"it says the same with {one} and {other} exchanged"


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if (RESULTS / f"{name}.json").is_file()])
def test_a_stored_record_is_what_its_command_writes(name):
    """The settings of ``training`` were stored before two losses changed the order of their fields."""
    stored, experiment = record(name), EXPERIMENTS[name]
    assert (stored["name"], stored["title"], stored["claim"]) == (name, experiment.title, experiment.claim)
    assert stored["scale"] == "cpu"
    settings = json.loads(json.dumps(experiment.settings("cpu")))
    del stored["settings"]["material"]
    kept = [name for name in stored["settings"] if name != "losses" or "IG-NORM" not in stored["settings"][name]]
    assert {name: settings[name] for name in kept} == {name: stored["settings"][name] for name in kept}


# -- certificates --------------------------------------------------------------------------------------------------


def test_figure_1c_sparsified_maps_are_certified_and_scaled_maps_are_not():
    def claim(by_map):
        others = [by_map[name] for name in ("unclipped τ = 0.1, γ = 0", "scaled", "quadratic")]
        return by_map["sparsified τ = 0.1"] > 0.2 and max(others) < 0.001

    assert_holds(claim, summary("maps")["theorem2"], ("sparsified τ = 0.1", "scaled"))


def test_figure_2a_most_is_certified_at_sigma_02_and_tau_near_01():
    def claim(by_sigma):
        sweep = {sigma: of for sigma, of in by_sigma.items() if sigma.startswith("σ")}
        best = max((value, sigma, tau) for sigma, of in sweep.items() for tau, value in of.items())
        at_best = sweep["σ = 0.2"]
        return best[1] == "σ = 0.2" and best[2] in ("0.1", "0.2") and at_best["0.1"] > 1.5 * at_best["0.05"]

    found = summary("sparsified")["theorem2"]
    assert_holds(claim, found, ("σ = 0.2", "σ = 0.5"), ("0.1", "0.02"))
    assert found["peak, 8192 draws"] > 0.4


def test_figure_2b_slightly_less_is_certified_of_relaxed_maps():
    def claim(peaks):
        return 0.8 * peaks["sparsified"] < peaks["relaxed"] < peaks["sparsified"]

    for bound in ("theorem2", "spectral"):
        peaks = {kind: summary(kind)[bound]["peak, 8192 draws"] for kind in ("sparsified", "relaxed")}
        assert_holds(claim, peaks, ("sparsified", "relaxed"))


def test_figure_12_nothing_is_certified_without_clipping():
    def claim(kinds):
        largest = {kind: max(max(of.values()) for of in by_sigma.values()) for kind, by_sigma in kinds.items()}
        return largest["unclipped"] < 0.001 and largest["relaxed"] > 0.1

    kinds = {kind: summary(kind)["theorem2"] for kind in ("unclipped", "relaxed")}
    kinds["relaxed"] = {sigma: of for sigma, of in kinds["relaxed"].items() if sigma.startswith("σ")}
    assert "1" in kinds["unclipped"]["σ = 0.2"]  # scaled SmoothGrad
    assert_holds(claim, kinds, ("unclipped", "relaxed"))
    assert summary("scaled")["theorem2"]["quadratic"]["any"] <= 0.00023


def test_figure_15_theorem_1_never_certifies_less_than_lecuyer_et_al():
    def claim(found):
        more = [found["theorem2"][radius] > found["lecuyer"][radius] for radius in ("0.01", "0.03", "0.1")]
        return found["lecuyer_larger"] == 0 < found["theorem2_larger"] and all(more)

    found = summary("lecuyer")
    assert_holds(claim, found, ("theorem2", "lecuyer"), ("theorem2_larger", "lecuyer_larger"))
    assert found["cases"] == found["theorem2_larger"] + found["both_zero"]


# -- attacks -------------------------------------------------------------------------------------------------------


def kept_by_image(name, radius):
    """What is left of each map by the attack on it, by map and image."""
    kept = {}
    for row in rows(name):
        if row["radius"] == radius:
            kept.setdefault(row["map"], {})[row["image"]] = row["own"]
    return kept


def test_figure_1a_an_attack_leaves_more_of_every_relaxed_map_than_of_the_gradient():
    def claim(kept):
        gains = [kept["relaxed"][image] - left for image, left in kept["gradient"].items()]
        return len(gains) == 32 and min(gains) > 0.2

    assert_holds(claim, kept_by_image("robustness", 0.5), ("relaxed", "gradient"))


def test_figure_1b_attacks_leave_more_of_the_smoothed_map_and_at_least_what_is_certified():
    def claim(found):
        bound = all(c <= left for c, left in zip(found["certified"], found["smoothed_left"], strict=True))
        return bound and min(found["certified"]) > 0 and fmean(found["smoothed_left"]) > fmean(found["gradient_left"])

    found = summary("xray-gallery")
    assert_holds(claim, found, ("smoothed_left", "gradient_left"), ("certified", "smoothed_left"))


def test_figure_4_relaxed_maps_keep_more_than_smoothgrad_and_as_much_as_quadratic_maps():
    """The intervals are those of the difference from SmoothGrad on the same image."""

    def claim(gains):
        def each(radius):
            lows = [gains[name][radius][1] for name in ("relaxed", "sparsified")]
            parity = abs(gains["relaxed"][radius][0] - gains["quadratic"][radius][0]) < 0.05
            return min(lows) > 0.05 and gains["gradient"][radius][2] < -0.3 and parity

        return all(map(each, ("0.5", "1")))

    assert_holds(
        claim, summary("robustness")["more_than_smoothgrad"], ("relaxed", "SmoothGrad"), ("relaxed", "gradient")
    )


def claim_of_three_attacks(radii):
    def claim(left):
        ours, signs, noise = (left[name] for name in ("Algorithm 1", "Ghorbani et al., L2", "random"))
        return all(ours[radius] < signs[radius] < noise[radius] for radius in radii)

    return claim


def test_figure_6a_algorithm_1_leaves_less_of_gradients_than_the_other_attacks():
    """At small radii; from ρ = 0.25 on both attacks leave the same, within the interval of the difference."""
    found = summary("attacks")
    exchanges = [("Algorithm 1", "Ghorbani et al., L2"), ("Ghorbani et al., L2", "random")]
    assert_holds(claim_of_three_attacks(("0.05", "0.1")), found["left"], *exchanges)
    low, high = found["more_than_algorithm_1"]["Ghorbani et al., L2"]["0.25"][1:]
    assert low < 0 < high


def test_figure_6b_algorithm_1_leaves_less_of_smoothgrad_than_the_other_attacks():
    exchanges = [("Algorithm 1", "Ghorbani et al., L2"), ("Ghorbani et al., L2", "random")]
    assert_holds(claim_of_three_attacks(("0.5",)), summary("attacks-on-smoothgrad")["left"], *exchanges)


def test_figure_14_certificates_are_below_the_attacks_and_fall_away_from_them():
    def claim(found):
        def each(name):
            left, certified = found["attacked"][name], found["certified"][name]
            gaps = [left[radius] - certified[radius] for radius in ("0.01", "0.05")]
            return 0 < gaps[0] < gaps[1]

        return all(map(each, (f"relaxed, τ = {tau}" for tau in (0.05, 0.1, 0.2))))

    found = summary("small-radii")
    for bound in ("theorem2", "best"):
        assert found["above"][bound] == 0
    value = {"attacked": found["attacked"], "certified": found["certified"]["best"]}
    assert_holds(claim, value, ("attacked", "certified"), ("0.01", "0.05"))


# -- training on MNIST ---------------------------------------------------------------------------------------------


def changes():
    """How much more is left of the maps than after plain training: after DDN, and after saliency training."""
    ddn = summary("ddn")
    return {
        "DDN": ddn["DDN"]["overlap"] - ddn["baseline"]["overlap"],
        "saliency": summary("training")["saliency (D.1)"]["overlap"]["change"],
    }


def test_figure_5_adversarial_training_for_classification_hardly_makes_maps_robust():
    assert_holds(lambda change: change["DDN"] < change["saliency"] / 3, changes(), ("DDN", "saliency"))


def test_figure_7_overlap_rises_with_the_weight_and_accuracy_hardly_falls():
    def claim(by_weight):
        overlaps = [by_weight[weight]["overlap"] for weight in ("0", "0.25", "0.5", "1", "2")]
        lost = by_weight["0"]["accuracy"] - by_weight["1"]["accuracy"]
        return overlaps == sorted(overlaps) and by_weight["1"]["overlap"] > 0.8 and lost < 0.01

    assert_holds(claim, summary("weights"), ("0", "2"), ("0.25", "1"))


def test_figure_8_training_makes_maps_of_digits_steadier():
    """The picture has few digits, so the claim is tested on the 200 of Figure 7. λ = 196 stands for 200."""

    def claim(by_weight):
        return by_weight["0.25"]["overlap"] > by_weight["0"]["overlap"] + 0.1

    assert_holds(claim, summary("weights"), ("0", "0.25"))


def test_figure_13_maps_of_digits_become_steadier_with_the_weight():
    """Each weight is compared with the next one, on the 200 digits of Figure 7."""

    def claim(by_weight):
        overlaps = [by_weight[weight]["overlap"] for weight in ("0", "0.25", "0.5", "1", "2")]
        return all(after > before + 0.04 for before, after in itertools.pairwise(overlaps))

    assert_holds(claim, summary("weights"), ("0", "0.25"), ("0.5", "1"), ("1", "2"))


# -- galleries without an attack -----------------------------------------------------------------------------------


def agrees_beyond_chance(shares):
    """Of two unrelated maps the top fifths share a fifth."""
    return min(shares.values()) > 0.3


def test_figure_3_maps_of_photographs_agree_with_smoothgrad_beyond_chance():
    assert agrees_beyond_chance(summary("photographs"))


def test_figure_11_maps_of_small_images_agree_with_smoothgrad_beyond_chance():
    assert agrees_beyond_chance(summary("small-images"))


# -- the page ------------------------------------------------------------------------------------------------------


def percent(values):
    return ", ".join(f"{100 * value:.0f}" for value in values)


def here_1a():
    kept = kept_by_image("robustness", 0.5)
    means = [f"{fmean(kept[name].values()):.2f}" for name in ("relaxed", "gradient")]
    return f"{means[0]} against {means[1]} at ρ = 0.5"


def here_1b():
    found = summary("xray-gallery")
    left = [written(fmean(found[name]), 3) for name in ("smoothed_left", "gradient_left")]
    return f"{left[0]} against {left[1]} left by attacks, {percent(found['certified'])} % certified at ρ = 0.5"


def here_1c():
    found = summary("maps")["theorem2"]
    return f"{written(found['sparsified τ = 0.1'])} against {written(found['scaled'])} from 2048 draws"


def here_2(kind):
    return f"{written(summary(kind)['theorem2']['peak, 8192 draws'])} at σ = 0.2 and τ = 0.1"


def here_of_smoothgrad(name):
    return ", ".join(f"{written(share)} {kind}" for kind, share in summary(name).items() if kind != "SmoothGrad")


def here_4():
    worst = summary("robustness")["worst"]
    names = ("relaxed", "sparsified", "quadratic", "SmoothGrad", "gradient")
    return ", ".join(f"{written(worst[name]['0.5'])} {name}" for name in names) + " at ρ = 0.5"


def here_5():
    found = summary("ddn")
    return f"{written(found['DDN']['overlap'], 3)} against {written(found['baseline']['overlap'], 3)}"


def here_6(name, *radii):
    left = summary(name)["left"]
    return "; ".join(", ".join(written(left[name][radius]) for name in left) + f" at ρ = {radius}" for radius in radii)


def here_7():
    found = summary("weights")
    ends = [written(found[weight]["overlap"]) for weight in ("0", "2")]
    lost = 100 * (found["0"]["accuracy"] - found["1"]["accuracy"])
    return f"from {ends[0]} to {ends[1]}; {written(found['1']['overlap'])} costs {written(lost, 1)} points"


def here_digits(*weights):
    """The authors take the mean over the pixels and not the sum, so their λ is ours times the number of pixels."""
    found = summary("weights")
    return ", ".join(f"{written(found[weight]['overlap'])} (λ = {784 * float(weight):.0f})" for weight in weights)


def here_12():
    found = summary("scaled")["theorem2"]
    scaled, quadratic = (written(found[name]["any"], digits) for name, digits in (("scaled", 4), ("quadratic", 5)))
    unclipped = max(row["overlap_0.03"] for row in rows("unclipped") if row["bound"] == "theorem2")
    return (
        f"by Theorem 2 at most {written(unclipped, 4)} with γ = 0 (ρ = 0.03), {scaled} scaled and {quadratic} "
        "quadratic (ρ of 0.01 or more)"
    )


def here_14():
    found = summary("small-radii")
    name = "relaxed, τ = 0.2"
    left, best, theorem2 = found["attacked"][name], *(found["certified"][bound][name] for bound in ("best", "theorem2"))
    (small, large) = left
    return (
        f"{written(best[small])} (`best`) and {written(theorem2[small])} (Theorem 2) of {written(left[small])} at "
        f"ρ = {small}, {written(best[large])} and {written(theorem2[large])} of {written(left[large])} at ρ = {large}"
    )


def here_15():
    found = summary("lecuyer")
    return f"more in {found['theorem2_larger']} of {found['cases']} cases, both nothing in the others"


HERE = {
    "Figure 1(a)": here_1a,
    "Figure 1(b)": here_1b,
    "Figure 1(c)": here_1c,
    "Figure 2(a)": lambda: here_2("sparsified"),
    "Figure 2(b)": lambda: here_2("relaxed"),
    "Figure 3": lambda: here_of_smoothgrad("photographs"),
    "Figure 4": here_4,
    "Figure 5": here_5,
    "Figure 6(a)": lambda: here_6("attacks", "0.05", "0.25"),
    "Figure 6(b)": lambda: here_6("attacks-on-smoothgrad", "0.5"),
    "Figure 7": here_7,
    "Figure 8": lambda: here_digits("0", "0.25"),
    "Figure 11": lambda: here_of_smoothgrad("small-images"),
    "Figure 12": here_12,
    "Figure 13": lambda: here_digits("0", "0.25", "0.5", "1"),
    "Figure 14": here_14,
    "Figure 15": here_15,
}


@pytest.mark.parametrize("label", HERE)
def test_the_page_has_the_numbers_of_the_records(label):
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| {label} |")]
    [link] = re.findall(r"\[([^\]]+)\]\(results/\w+\.md\)", line.split("|")[3])
    assert link == HERE[label]()


@pytest.mark.parametrize("label", HERE)
def test_the_results_have_the_same_numbers(label):
    [line] = [line for line in INDEX.splitlines() if line.startswith(f"| {label} |")]
    assert line.split("|")[3].strip() == HERE[label]()
