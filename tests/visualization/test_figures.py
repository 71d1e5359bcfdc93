"""Each figure shows what its certificate says, and refuses arguments that do not fit."""

import numpy as np
import pytest
import torch
from gallery import ZEROS, blob, image, smoothed
from matplotlib.colors import to_hex, to_rgb

from captum_certified import Certifier, InvalidInputError, SmoothedMap
from captum_certified.visualization import (
    attack_figure,
    bar_figure,
    certificate_figure,
    curve_figure,
    overlap_figure,
    radius_figure,
    region_figure,
    report,
)
from captum_certified.visualization.colours import ATTACKED, FAINT, NOTHING, OUTSIDE, STRONG


def marked(axes, colour):
    return (np.abs(np.asarray(axes.images[0].get_array()) - to_rgb(colour)) < 1e-9).all(axis=2)


def test_certificates_about_fresh_draws_are_drawn_as_such_or_refused():
    fresh = Certifier(bound="clopper_pearson").top_k(smoothed(blob()), k=16, radius=0.1, fresh_draws=20)
    _, axes = certificate_figure(fresh, image())
    assert not marked(axes[0, 3], STRONG).any()
    for figure in (lambda: bar_figure(fresh), lambda: radius_figure(fresh, image())):
        with pytest.raises(InvalidInputError, match="about the exact map, got one with `fresh_draws`=20"):
            figure()


def test_dollar_signs_are_drawn_literally(tmp_path):
    certificate = Certifier().top_k(smoothed(blob(8)), k=16, radius=0.1)
    figure, axes = certificate_figure(certificate, image(8), labels=["$^$ or US$"])
    figure.savefig(tmp_path / "figure.png")
    names = ["$$", "tax_$_in_$", *map(str, range(62))]
    figure, axes = bar_figure(certificate, feature_names=names, labels=["$\\frac$"], most=64)
    figure.savefig(tmp_path / "bars.png", dpi=10)
    assert axes[0].get_title().startswith(r"\$\frac\$: at least ")


def test_selected_rejected_and_abstained_features_look_different():
    certificate = Certifier().selection(smoothed(blob(rows=2)), radius=0.05)
    _, axes = certificate_figure(certificate, image(rows=2).numpy())
    for row in range(2):
        selected, abstained = certificate.selected[row, 0].numpy(), certificate.abstained[row, 0].numpy()
        assert abstained.any()
        np.testing.assert_array_equal(marked(axes[row, 3], STRONG), selected)
        np.testing.assert_array_equal(marked(axes[row, 3], NOTHING), abstained)
    assert certificate.selected.any()


def test_a_pixel_shows_the_strongest_decision_of_its_channels():
    scores = torch.tensor([0.99, 0.5, 0.01]).double().reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    certificate = Certifier().selection(smoothed(scores), radius=0.0)
    _, axes = certificate_figure(certificate, torch.rand(3, 8, 8))
    assert marked(axes[0, 3], STRONG).all()


def test_radii_are_those_of_the_feature_table_on_one_scale_for_all_examples():
    certificate = Certifier().top_k(smoothed(blob(rows=2)), k=0.3, radius=0.05)
    _, axes = radius_figure(certificate, image(rows=2))
    table = np.array(certificate.columns()["radius"]).reshape(2, 28, 28)
    for row in range(2):
        drawn = axes[row, 1].images[0]
        assert drawn.get_clim() == (0.0, pytest.approx(table.max()))
        np.testing.assert_array_equal(np.ma.getmaskarray(drawn.get_array()), table[row] == 0)
        np.testing.assert_allclose(np.ma.filled(drawn.get_array(), 0), table[row])
        assert to_hex(drawn.cmap.get_bad()) == "#ffffff"


def test_radii_of_a_selection_are_drawn_by_the_side_of_the_decision():
    certificate = Certifier().selection(smoothed(blob()), radius=9.0)
    _, axes = radius_figure(certificate, image())
    selected, rejected = (np.ma.filled(panel.images[0].get_array(), 0) for panel in axes[0, 1:])
    torch.testing.assert_close(torch.from_numpy(selected + rejected), certificate.radius[0, 0], rtol=0, atol=0)
    assert not (selected > 0)[certificate.map.mean[0, 0] <= 0.5].any()
    assert (selected > 0).any()
    assert (rejected > 0).any()


def test_every_column_of_radii_has_its_own_scale():
    certificate = Certifier().selection(smoothed(blob()), radius=0.05)
    figure, axes = radius_figure(certificate, image())
    selected = certificate.map.features > 0.5
    for panel, own in zip(axes[0, 1:], (selected, ~selected), strict=True):
        largest = float(certificate.feature_radius[own].max())
        assert panel.images[0].get_clim() == (0.0, pytest.approx(largest))
    scales = [one for one in figure.axes if one.get_label() == "scale"]
    assert [one.get_xlim() for one in scales] == [panel.images[0].get_clim() for panel in axes[0, 1:]]


def test_features_of_the_set_that_are_certified_at_no_radius_are_hatched():
    certificate = Certifier().top_k(smoothed(blob()), k=0.3, radius=0.05)
    _, axes = radius_figure(certificate, image())
    nothing = certificate.members[0].numpy() & (np.array(certificate.columns()["radius"]) == 0)
    corners = axes[0, 1].patches[0].get_path().vertices.reshape(-1, 5, 2)
    hatched = np.zeros((28, 28), dtype=bool)
    for box in corners:
        (x0, y0), (x1, y1) = np.rint(box.min(axis=0) + 0.5).astype(int), np.rint(box.max(axis=0) + 0.5).astype(int)
        hatched[y0:y1, x0:x1] = True
    assert nothing.any()
    np.testing.assert_array_equal(hatched, nothing.reshape(28, 28))


def test_the_scale_ends_at_a_given_radius():
    certificate = Certifier().top_k(smoothed(blob()), k=1.0, radius=0.05)
    _, axes = radius_figure(certificate, image(), largest=0.2)
    assert axes[0, 1].images[0].get_clim() == (0.0, 0.2)
    with pytest.raises(InvalidInputError, match="`largest`"):
        radius_figure(certificate, image(), largest=0)


def test_curves_are_those_of_the_certifier():
    smoothed_map, radii = smoothed(blob(rows=2)), [0.2, 0.0, 0.1]
    _, axes = curve_figure(smoothed_map, k=0.2, radii=radii, bounds=["kl", "theorem2"], attacked={0.3: [0.5, 1.0]})
    for line, bound in zip(axes.lines, ("kl", "theorem2"), strict=False):
        overlaps = Certifier(bound=bound).top_k_curve(smoothed_map, k=0.2, radii=sorted(radii))
        expected = 100 * overlaps.double().mean(dim=0) / 157
        torch.testing.assert_close(torch.as_tensor(line.get_ydata()), expected)
        assert line.get_xdata().tolist() == sorted(radii)
    assert axes.lines[2].get_xydata().tolist() == [[0.3, 75.0]]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"radii": []}, "Expected a radius and a bound, got 0 `radii` and 2 `bounds`"),
        ({"bounds": []}, "Expected a radius and a bound, got 1 `radii` and 0 `bounds`"),
        ({"bounds": ["none"]}, "`bound` to be one of"),
        ({"attacked": {0.1: [0.5, 0.5]}}, "fractions in \\[0, 1\\], one or 1 for each radius"),
        ({"attacked": {0.1: 50}}, "fractions in \\[0, 1\\]"),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(settings, match):
    with pytest.raises(InvalidInputError, match=match):
        curve_figure(smoothed(blob()), **{"k": 9, "radii": [0.1], **settings})


def test_a_region_is_outlined_and_its_certified_share_rounded_down():
    certificate = Certifier().region(smoothed(blob(), regions=True), radius=0.1)
    _, axes = region_figure(certificate, image())
    mask = np.pad(certificate.mask[0, 0].numpy(), 1)
    edges = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    for panel in axes[0, :2]:
        drawn = [sum(np.abs(end - start).sum() for start, end in lines.get_segments()) for lines in panel.collections]
        assert drawn == [edges, edges]
    percent = int(100 * float(certificate.mass[0]))
    assert [text.get_text() for text in axes[0, 2].texts][1] == f"certified: at least {percent} %"


def test_an_outline_goes_around_its_pixels():
    smoothed_map = smoothed(blob(8), regions=True)
    mask = torch.zeros(1, 64, dtype=torch.bool)
    mask[0, 2 * 8 + 5] = True
    object.__setattr__(smoothed_map, "regions", {"one": (mask, smoothed_map.regions["tumour"][1])})
    _, axes = region_figure(Certifier().region(smoothed_map, radius=0.1), image(8))
    points = {tuple(point) for line in axes[0, 0].collections[0].get_segments() for point in line.tolist()}
    assert points == {(4.5, 1.5), (5.5, 1.5), (4.5, 2.5), (5.5, 2.5)}


def test_bars_are_sorted_and_coloured_by_what_is_certified():
    scores = torch.tensor([[0.02, 0.97, 0.6, 0.93, 0.58]]).double()
    certificate = Certifier().top_k(smoothed(scores), k=3, radius=0.05)
    _, axes = bar_figure(certificate, feature_names=list("abcde"))
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["b", "d", "c", "e", "a"]
    colours = [to_hex(bar.get_facecolor()).upper() for bar in axes[0].patches]
    assert colours == [STRONG, STRONG, FAINT, OUTSIDE, OUTSIDE]
    columns, order = certificate.columns(), [1, 3, 2, 4, 0]
    whiskers = np.array([line[:, 0] for line in axes[0].collections[0].get_segments()])
    np.testing.assert_allclose(whiskers[:, 0], np.array(columns["lower"])[order])
    np.testing.assert_allclose(whiskers[:, 1], np.array(columns["upper"])[order])


def test_bars_state_what_is_certified_and_are_hatched_if_nothing_is():
    scores = torch.tensor([[0.02, 0.97, 0.6, 0.93, 0.58, 0.01], [0.5] * 6]).double()
    certificate = Certifier().top_k(smoothed(scores), k=3, radius=0.05)
    overlap = int(certificate.overlap[0])
    assert 2 <= overlap < 3
    figure, axes = bar_figure(certificate, labels=["one", "two"])
    assert [panel.get_title() for panel in axes] == [
        f"one: at least {overlap} of the top 3 stay for any ‖δ‖₂ ≤ 0.05\nall 6 features, K = 3",
        "two: nothing is certified for ‖δ‖₂ ≤ 0.05\nall 6 features, K = 3",
    ]
    hatches = [[bar.get_hatch() for bar in panel.patches] for panel in axes]
    assert hatches == [[None] * 6, ["/////"] * 3 + [None] * 3]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2] == "in the top K: nothing is certified"
    _, axes = bar_figure(Certifier().selection(smoothed(scores), radius=0.05), most=2)
    assert axes[1].get_title() == "0 of 6 features are decided for any ‖δ‖₂ ≤ 0.05\nthe 2 most salient of 6 features"


def test_bars_of_a_selection_show_where_it_abstains():
    certificate = Certifier().selection(smoothed(torch.tensor([[0.97, 0.5, 0.02]]).double()), radius=0.05)
    _, axes = bar_figure(certificate, most=2)
    assert [to_hex(bar.get_facecolor()).upper() for bar in axes[0].patches] == [STRONG, NOTHING]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"feature_names": ["a"]}, "Expected 3 `feature_names`, got 1"),
        ({"labels": ["a", "b"]}, "Expected 1 `labels`"),
        ({"most": 0}, "`most` to be an integer from 1, got 0"),
        ({"most": True}, "`most` to be an integer from 1, got True"),
    ],
)
def test_bars_that_do_not_fit_are_refused(settings, match):
    certificate = Certifier().top_k(smoothed(torch.rand(1, 3).double()), k=1, radius=0.05)
    with pytest.raises(InvalidInputError, match=match):
        bar_figure(certificate, **settings)


@pytest.mark.parametrize("draw", [radius_figure, region_figure, lambda certificate, image: bar_figure(certificate)])
def test_other_certificates_are_refused(draw):
    with pytest.raises(InvalidInputError, match=r"Expected `certificate` to be a .*, got RankCertificate"):
        draw(Certifier().rank(smoothed(ZEROS), radius=0.1), ZEROS)


def test_attacked_maps_may_be_arrays_and_must_fit():
    maps = blob().numpy()
    _, axes = attack_figure(image().numpy(), image().numpy(), maps, maps, k=9)
    assert marked(axes[0, 4], ATTACKED).sum() == 9
    with pytest.raises(
        InvalidInputError, match=r"`after` of the shape of `before`, \(1, 1, 28, 28\), got \(1, 28, 28\)"
    ):
        attack_figure(image(), image(), maps, maps[0], k=9)
    with pytest.raises(InvalidInputError, match="Expected 1 `certified`, one for each example, got 2"):
        attack_figure(image(), image(), maps, maps, k=9, certified=[None, None])
    with pytest.raises(InvalidInputError, match="Expected 1 `names`, one for each example, got 2"):
        attack_figure(image(), image(), maps, maps, k=9, names=["plain", "smoothed"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_and_shares_of_half_precision_are_drawn(tmp_path, dtype):
    certificate = Certifier().top_k(smoothed(blob()), k=16, radius=0.1)
    selection = Certifier().selection(smoothed(blob()), radius=0.1)
    small, maps = image().to(dtype), blob().to(dtype)
    _, axes = certificate_figure(certificate, small)
    np.testing.assert_array_equal(axes[0, 0].images[0].get_array(), small.float().numpy()[0, 0])
    certificate_figure(selection, small)
    radius_figure(certificate, small)
    attack_figure(small, small, maps, maps, k=16, certified=torch.tensor([0.5], dtype=dtype))
    curve_figure(certificate.map, k=16, radii=[0.1], attacked={0.1: torch.tensor([0.5], dtype=dtype)})
    overlap_figure(torch.tensor([[0.5, 0.25]], dtype=dtype), radii=[0.1, 0.2], confidence=0.95)
    report(certificate, tmp_path / "report.html", image=small)


def test_errors_for_tables_name_the_figure_that_draws_them(tmp_path):
    table = SmoothedMap.from_counts(torch.tensor([[90, 80, 10, 5]]), n_samples=100, stdevs=0.2)
    certificate, rows = Certifier().top_k(table, k=2, radius=0.01), torch.rand(1, 4)
    selection = Certifier().selection(table, radius=0.01)
    for draw in (
        lambda: certificate_figure(certificate, rows),
        lambda: certificate_figure(selection, rows),
        lambda: radius_figure(certificate, rows),
        lambda: attack_figure(rows, rows, table.mean, table.mean, k=2),
        lambda: report(certificate, tmp_path / "report.html", image=rows),
    ):
        with pytest.raises(InvalidInputError, match=r"one map of images, got maps of shape \(4,\) .* by `bar_figure`"):
            draw()
    _, axes = bar_figure(certificate)
    assert len(axes) == 1
