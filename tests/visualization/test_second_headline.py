"""Figures state how much of the plain map's top set survives, mark the certificate's set, and show cautions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_text import assert_text_is_readable, texts_of
from gallery import ZEROS, blob, image, smoothed
from matplotlib.colors import to_hex, to_rgb

from captum_certified import Certifier, InvalidInputError, SmoothedMap, radius_in_units
from captum_certified.maps import FeatureLayout
from captum_certified.visualization import (
    attack_figure,
    bar_figure,
    certificate_figure,
    curve_figure,
    overlap_figure,
    radius_figure,
)
from captum_certified.visualization.colours import ATTACKED, FAINT, LEFT, NEW, OUTSIDE, STRONG, ordered
from captum_certified.visualization.panels import SCALE_NOTE

REFERENCES = ("plain", "mask", "small mask")


def shifted(rows=1, method="Saliency", votes=None, scores=None):
    """A map whose plain map is moved by some pixels, so that only a part of its top set can be certified."""
    smoothed_map = smoothed(blob(rows=rows) if scores is None else scores)
    plain = smoothed_map.plain.reshape(rows, 28, 28).roll(3, dims=2).reshape(rows, -1)
    votes = None if votes is None else torch.tensor(votes)
    return replace(smoothed_map, plain=plain, setup={"method": method}, class_votes=votes)


def mask(rows=1, *, small=False):
    inside = torch.zeros(rows, 28, 28, dtype=torch.bool)
    inside[:, 6:10, 8:12] = True
    if not small:
        inside[:, 10:26, 4:26] = True
    return inside.reshape(rows, -1)


def certificate_of(reference, rows=1, k=157, radius=0.05):
    given = {"plain": "plain", "mask": mask(rows), "small mask": mask(rows, small=True)}[reference]
    return Certifier().top_k(shifted(rows), k=k, radius=radius, reference=given)


def marked(axes, colour):
    return (np.abs(np.asarray(axes.images[0].get_array()) - to_rgb(colour)) < 1e-9).all(axis=2)


def titles(column):
    return [panel.get_title() for panel in column]


# -- the figure of a certificate -------------------------------------------------------------------------------------


def test_plain_panels_state_how_much_of_their_top_set_survives():
    certificate = Certifier().top_k(shifted(rows=2), k=157, radius=0.05)
    _, axes = certificate_figure(certificate, image(rows=2))
    one, two = (100 * overlap // 157 for overlap in certificate.of_plain.overlap.tolist())
    assert two > 0
    assert titles(axes[:, 1]) == [
        f"plain Saliency: ≥ {one} % of its\ntop stay (21 % by chance)",
        f"≥ {two} % of the plain map's\ntop stay (21 % by chance)",
    ]


@pytest.mark.parametrize(
    ("method", "shown"),
    [
        ("InputXGradient", "InputXGradient"),
        ("IntegratedGradients", "IntegratedGradients"),
        ("CostlyIntegratedGradients", "CostlyIntegratedGr…"),
    ],
)
def test_long_names_of_methods_leave_room_for_the_headline(method, shown):
    certificate = Certifier().top_k(shifted(method=method), k=157, radius=0.05)
    figure, axes = certificate_figure(certificate, image())
    percent = 100 * int(certificate.of_plain.overlap) // 157
    assert axes[0, 1].get_title() == f"plain {shown}: ≥ {percent} %\nof its top stay (21 % by chance)"
    assert_text_is_readable(figure)


def test_plain_panels_say_when_nothing_of_their_top_set_is_certified():
    figure, axes = certificate_figure(Certifier().top_k(shifted(rows=2), k=157, radius=3.0), image(rows=2))
    assert titles(axes[:, 1]) == [
        "plain Saliency:\nnothing of its top is certified",
        "nothing of the plain map's\ntop is certified",
    ]
    assert_text_is_readable(figure)


@pytest.mark.parametrize("smoothed_map", [smoothed(ZEROS), replace(smoothed(blob()), plain=None)])
def test_plain_panels_have_their_name_alone_without_a_certificate(smoothed_map):
    _, axes = certificate_figure(Certifier().top_k(smoothed_map, k=157, radius=0.05), image())
    assert axes[0, 1].get_title() == "plain map"
    _, axes = certificate_figure(Certifier(bound="theorem2").top_k(shifted(), k=157, radius=0.05), image())
    assert axes[0, 1].get_title() == "plain Saliency"


@pytest.mark.parametrize("reference", REFERENCES)
def test_the_last_panel_marks_the_reference_set(reference):
    certificate = certificate_of(reference, rows=2)
    figure, axes = certificate_figure(certificate, image(rows=2))
    members = certificate.members.reshape(2, 28, 28).numpy()
    in_top = Certifier().rank(certificate.map, radius=0.05).in_top_k(157)[:, 0].numpy()
    for row in range(2):
        named = members[row] & in_top[row]
        assert named.any()
        np.testing.assert_array_equal(marked(axes[row, 3], STRONG), named)
        np.testing.assert_array_equal(marked(axes[row, 3], FAINT), members[row] & ~named)
    what = "in the plain map's top set" if reference == "plain" else "in the given set"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    counts = (members & in_top).sum(axis=(1, 2))
    others = (certificate.overlap.numpy() - counts).clip(min=0)
    numbers = [str(both[0]) if both[0] == both[1] else f"{both[0]}, {both[1]}" for both in (counts, others)]
    others = f"at least {numbers[1]} of these are in the top 157" if others.any() else "nothing is certified of these"
    assert labels == [f"certified individually ({numbers[0]})", f"{what}: {others}"]
    assert_text_is_readable(figure)


def test_titles_speak_of_the_reference_set_and_of_percent_of_the_smaller_set():
    for reference, text in (
        ("plain", "≥ {} % of the plain map's top\n157 stay for any ‖δ‖₂ ≤ 0.05"),
        ("small mask", "≥ {} % of the reference's 16\nfeatures stay for any ‖δ‖₂ ≤ 0.05"),
        ("mask", "≥ {} % of the top 157 are of the\nreference's 368, any ‖δ‖₂ ≤ 0.05"),
    ):
        certificate = certificate_of(reference)
        _, axes = certificate_figure(certificate, image())
        percent = 100 * int(certificate.overlap) // min(157, int(certificate.reference_size))
        assert percent > 0
        assert axes[0, 3].get_title() == text.format(percent)
    for reference, text in (
        ("plain", "nothing is certified of the plain\nmap's top 157 for ‖δ‖₂ ≤ 3"),
        ("small mask", "nothing is certified of the\nreference's 16 for ‖δ‖₂ ≤ 3"),
    ):
        _, axes = certificate_figure(certificate_of(reference, radius=3.0), image())
        assert axes[0, 3].get_title() == text


def test_the_plain_panel_of_a_certificate_of_the_plain_set_does_not_repeat_it():
    _, axes = certificate_figure(certificate_of("plain"), image())
    assert axes[0, 1].get_title() == "plain Saliency"


def test_cautions_stand_at_the_foot_of_the_figure():
    far = shifted(rows=4, votes=[[20, 256], [250, 256], [51, 256], [51, 256]])
    figure, _ = certificate_figure(Certifier().top_k(far, k=157, radius=0.05), image(rows=4))
    notes = [text.get_text() for text in figure.texts]
    assert notes == [
        SCALE_NOTE,
        str(radius_in_units(0.05, image(rows=4))),
        "caution for image 3–4: only 19.9 % of noisy copies keep the predicted class",
        "caution for image 1: only 7.8 % of noisy copies keep the predicted class",
    ]  # drawn from below
    assert_text_is_readable(figure)
    figure, _ = certificate_figure(Certifier().top_k(shifted(votes=[[20, 256]]), k=157, radius=0.05), image())
    assert [text for text, _ in texts_of(figure) if text.startswith("caution")] == [
        "caution: only 7.8 % of noisy copies keep the predicted class"
    ]
    figure, _ = certificate_figure(Certifier().top_k(shifted(votes=[[250, 256]]), k=157, radius=0.05), image())
    assert [text.get_text() for text in figure.texts] == [SCALE_NOTE, str(radius_in_units(0.05, image()))]


def test_sizes_are_not_compared_if_the_picture_is_not_the_input():
    certificate = Certifier().top_k(shifted(votes=[[250, 256]]), k=157, radius=0.05)
    for picture in (2 * image(), 255 * image()):
        figure, _ = certificate_figure(certificate, picture)
        assert [text.get_text() for text in figure.texts] == [SCALE_NOTE]


# -- other figures of certificates -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", REFERENCES)
def test_radii_of_a_reference_set_are_those_of_its_members(reference):
    certificate = certificate_of(reference)
    figure, axes = radius_figure(certificate, image())
    members = certificate.members.reshape(28, 28).numpy()
    table = np.array(certificate.columns()["radius"]).reshape(28, 28)
    np.testing.assert_allclose(np.ma.filled(axes[0, 1].images[0].get_array(), 0), np.where(members, table, 0))
    assert (table[~members] > 0).any()
    whose = "plain map's top" if reference == "plain" else "reference"
    assert axes[0, 1].get_title() == f"{whose}: stays in\nthe top 157 up to radius"
    assert_text_is_readable(figure)


def test_infinite_radii_of_a_reference_set_are_shown_for_its_members_alone():
    certificate = Certifier().top_k(shifted(), k=1.0, radius=0.05, reference=mask())
    _, axes = radius_figure(certificate, image(), largest=0.2)
    drawn = axes[0, 1].images[0].get_array()
    np.testing.assert_array_equal(~np.ma.getmaskarray(drawn), mask().reshape(28, 28).numpy())


def test_bars_of_a_reference_set_are_coloured_by_its_members():
    scores = torch.tensor([[0.02, 0.97, 0.6, 0.93, 0.58]]).double()
    reference = torch.tensor([[True, True, True, False, False]])
    certificate = Certifier().top_k(smoothed(scores), k=3, radius=0.05, reference=reference)
    figure, axes = bar_figure(certificate, feature_names=list("abcde"))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["b", "d", "c", "e", "a"]
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes[0].patches]
    assert colours == [STRONG, OUTSIDE, FAINT, OUTSIDE, FAINT]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:3] == [
        "certified individually",
        "in the reference, not certified individually",
        "not in the reference",
    ]
    assert_text_is_readable(figure)


def test_curves_of_a_reference_set_are_shares_of_the_smaller_set():
    radii = [0.0, 0.05, 0.1]
    for reference in REFERENCES:
        certificate = certificate_of(reference, rows=2)
        given = "plain" if reference == "plain" else "recorded"
        _, axes = curve_figure(certificate.map, k=157, radii=radii, bounds=["best"], reference=given)
        curve = Certifier().top_k_curve(certificate.map, k=157, radii=radii, reference=given).double()
        expected = 100 * (curve / min(157, int(certificate.reference_size[0]))).mean(dim=0)
        torch.testing.assert_close(torch.as_tensor(axes.lines[0].get_ydata()), expected)
        whose = "plain map" if reference == "plain" else "reference"
        assert axes.get_ylabel() == f"share of the {whose} in the top 157, %"


def test_curves_of_the_plain_set_are_dashed_lines_of_the_same_colour():
    smoothed_map, radii = shifted(), [0.0, 0.05, 0.1]
    figure, axes = curve_figure(smoothed_map, k=157, radii=radii, of_plain=True)
    own, plain, theorem2 = axes.lines
    assert [line.get_label() for line in axes.lines] == ["best", "best: plain map's top K", "theorem2"]
    assert own.get_color() == plain.get_color() != theorem2.get_color()
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--", "-"]
    curve = Certifier().top_k_curve(smoothed_map, k=157, radii=radii, reference="plain")[0].double()
    torch.testing.assert_close(torch.as_tensor(plain.get_ydata()), 100 * curve / 157)
    assert_text_is_readable(figure)
    with pytest.raises(InvalidInputError, match="Expected no `reference` with `of_plain`, got 'plain'"):
        curve_figure(smoothed_map, k=157, radii=radii, of_plain=True, reference="plain")


# -- figures of many examples and of attacks -------------------------------------------------------------------------


def test_overlaps_of_plain_maps_are_dashed_lines_of_the_same_colours():
    own, plain = np.array([[0.875, 0.5], [0.625, 0.25]]), np.array([[0.25, 0.125], [0.5, 0.125]])
    figure, axes = overlap_figure(own, radii=[0.1, 0.2], confidence=0.95, of_plain=torch.from_numpy(plain))
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in lines] == [
        "ρ = 0.1: mean 75.0 %",
        "ρ = 0.2: mean 37.5 %",
        "ρ = 0.1, plain map's top: mean 37.5 %",
        "ρ = 0.2, plain map's top: mean 12.5 %",
    ]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", "--"]
    assert [line.get_color() for line in lines] == ordered(2) * 2
    assert lines[2].get_ydata().tolist() == [50.0, 25.0, 25.0]
    assert_text_is_readable(figure)


def test_overlaps_of_plain_maps_that_do_not_fit_are_refused():
    own = torch.tensor([[0.5, 0.25]])
    with pytest.raises(InvalidInputError, match=r"`of_plain` of the shape of `overlaps`, \(1, 2\), got \(1, 1\)"):
        overlap_figure(own, radii=[0.1, 0.2], confidence=0.95, of_plain=own[:, :1])
    with pytest.raises(InvalidInputError, match="Expected finite `of_plain`, got NaN"):
        overlap_figure(own, radii=[0.1, 0.2], confidence=0.95, of_plain=own * float("nan"))


@pytest.mark.parametrize("groups", ["channels", "patches:4", "masks"])
def test_attacks_on_grouped_maps_count_features_by_group(groups):
    generator = torch.Generator().manual_seed(0)
    if groups == "masks":  # groups of different sizes
        groups = (
            torch.arange(28).reshape(1, 1, 1, 28) // 3 + 10 * (torch.arange(28).reshape(1, 1, 28, 1) // 5)
        ).expand(1, 3, 28, 28)
    layout = FeatureLayout.of([torch.zeros(1, 3, 28, 28)], is_tuple=False, rows=1, groups=groups)
    n, k = layout.n_features, 20
    # Scores are whole numbers of draws, so that many features tie.
    features = [torch.randint(0, 30, (2, n), generator=generator).double() / 1000 for _ in range(2)]
    before, after = (layout.unflatten(table) for table in features)
    _, axes = attack_figure(image(rows=2), image(rows=2), before, after, k=k, groups=groups)
    certifier_top = [SmoothedMap.from_counts((1000 * t).round().long(), n_samples=1000, stdevs=0.1) for t in features]
    was, became = (Certifier().top_k(m, k=k, radius=0.0).top_k for m in certifier_top)
    for row in range(2):
        stayed = int((was & became)[row].sum())
        assert axes[row, 4].get_title() == f"{-(-100 * stayed // k)} % of the top {k} stay"
        pixels = [layout.unflatten(m)[row].any(dim=0).numpy() for m in (was & became, was & ~became, became & ~was)]
        for colour, expected in zip((ATTACKED, LEFT, NEW), pixels, strict=True):
            np.testing.assert_array_equal(marked(axes[row, 4], colour), expected)


def test_a_share_of_grouped_features_is_one_of_the_groups():
    maps = blob(channels=3)
    _, axes = attack_figure(image(), image(), maps, maps, k=0.2, groups="channels")
    assert axes[0, 4].get_title() == "100 % of the top 157 stay"
    with pytest.raises(InvalidInputError, match="`groups` to be None, 'channels', 'patches:S'"):
        attack_figure(image(), image(), maps, maps, k=0.2, groups="pixels")
