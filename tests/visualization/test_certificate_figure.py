"""The figure of a certificate, for every layout of images and maps, and its refusals."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from captum_certified import Certifier, InvalidInputError, SmoothedMap
from captum_certified.visualization import certificate_figure
from captum_certified.visualization.colours import FAINT as _UNCERTIFIED
from captum_certified.visualization.colours import NOTHING
from captum_certified.visualization.colours import STRONG as _CERTIFIED


def certificate(shape, *, k=0.2, radius=0.05, bound="hoeffding", plain=True, **settings):
    """Return a certificate of a map whose entries fall evenly from 1 to 0."""
    rows, n = shape[0], int(np.prod(shape[1:]))
    counts = torch.linspace(1000, 0, n).long().expand(rows, n).reshape(shape)
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2, **settings)
    if plain:
        object.__setattr__(smoothed_map, "plain", smoothed_map.features.float())
    return Certifier(bound=bound).top_k(smoothed_map, k=k, radius=radius)


def marks(axes, color):
    """Mark the pixels of a panel that have a colour."""
    return (np.abs(np.asarray(axes.images[0].get_array()) - to_rgb(color)) < 1e-9).all(axis=2)


@pytest.mark.parametrize(
    ("map_shape", "image_shape"),
    [
        ((1, 1, 28, 28), (1, 1, 28, 28)),
        ((1, 1, 28, 28), (28, 28)),
        ((1, 1, 28, 28), (1, 28, 28)),
        ((1, 28, 28), (28, 28)),
        ((2, 28, 28), (2, 28, 28)),
        ((2, 3, 24, 20), (2, 3, 24, 20)),
        ((2, 3, 24, 20), (2, 24, 20, 3)),
        ((1, 3, 24, 20), (3, 24, 20)),
        ((1, 3, 24, 20), (24, 20, 3)),
        ((1, 24, 20, 3), (24, 20, 3)),
        ((1, 1, 20, 24), (1, 3, 20, 24)),
        ((2, 5, 20, 24), (2, 20, 24)),
        ((1, 3, 224, 224), (1, 3, 224, 224)),
    ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_every_layout_is_drawn_on_one_row_an_example(map_shape, image_shape, as_array):
    image = torch.rand(image_shape)
    figure, axes = certificate_figure(certificate(map_shape), image.numpy() if as_array else image)
    assert isinstance(figure, Figure)
    assert axes.shape == (map_shape[0], 4)
    height, width = [size for size in map_shape[1:] if size > 5]
    for panel in axes.flat:
        assert panel.images[0].get_array().shape[:2] == (height, width)
    figure.draw_without_rendering()


def test_last_panel_marks_exactly_the_top_k_and_the_features_certified_individually():
    proved = certificate((1, 1, 20, 20), k=80, radius=0.02)
    _, axes = certificate_figure(proved, torch.rand(20, 20))
    named = Certifier(bound="hoeffding").rank(proved.map, radius=0.02).in_top_k(80)[0, 0].numpy()
    top = proved.top_k.reshape(20, 20).numpy()
    assert 0 < named.sum() < top.sum() == 80
    np.testing.assert_array_equal(marks(axes[0, 3], _CERTIFIED), named)
    np.testing.assert_array_equal(marks(axes[0, 3], _UNCERTIFIED), top & ~named)


def test_title_states_the_overlap_rounded_down():
    proved = certificate((1, 1, 20, 20), k=80, radius=0.02)
    figure, axes = certificate_figure(proved, torch.rand(20, 20))
    percent = int(100 * float(proved.overlap_fraction[0]))
    assert 0 < percent < 100
    named = int(Certifier(bound="hoeffding").rank(proved.map, radius=0.02).features_in_top_k(80).sum())
    assert axes[0, 3].get_title() == f"≥ {percent} % of the top 80 stay\nfor any ‖δ‖₂ ≤ 0.02"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    others = int(proved.overlap[0]) - named
    assert others > 0
    assert labels == [f"certified individually ({named})", f"in the top set: at least {others} of these stay"]


def test_title_says_when_nothing_is_certified():
    _, axes = certificate_figure(certificate((1, 1, 20, 20), k=80, radius=3.0), torch.rand(20, 20))
    assert axes[0, 3].get_title() == "nothing is certified of the\ntop 80 for ‖δ‖₂ ≤ 3"
    assert not marks(axes[0, 3], _CERTIFIED).any()
    assert marks(axes[0, 3], NOTHING).sum() == 80
    assert [patch.get_hatch() for patch in axes[0, 3].patches] == ["/////"]


def test_a_pixel_is_marked_if_one_of_its_channels_is():
    proved = certificate((1, 3, 10, 10), k=1, radius=0.0)
    _, axes = certificate_figure(proved, torch.rand(3, 10, 10))
    marked = marks(axes[0, 3], _CERTIFIED) | marks(axes[0, 3], NOTHING)
    assert np.argwhere(marked).tolist() == [[0, 0]]


def test_heat_maps_sum_over_channels():
    proved = certificate((1, 3, 10, 10))
    _, axes = certificate_figure(proved, torch.rand(3, 10, 10))
    expected = proved.map.mean[0].sum(dim=0)
    torch.testing.assert_close(torch.from_numpy(np.asarray(axes[0, 2].images[0].get_array())), expected)


@pytest.mark.parametrize("bound", ["hoeffding", "theorem2"])
def test_map_of_zeros_and_a_top_set_of_everything(bound):
    smoothed_map = SmoothedMap.from_counts(torch.zeros(1, 1, 28, 28).long(), n_samples=10, stdevs=0.2)
    proved = Certifier(bound=bound).top_k(smoothed_map, k=784, radius=0.1)
    figure, axes = certificate_figure(proved, torch.zeros(28, 28))
    figure.draw_without_rendering()
    marked = marks(axes[0, 3], _CERTIFIED) | marks(axes[0, 3], NOTHING)
    assert marked.all()


def test_a_missing_plain_map_is_reported():
    _, axes = certificate_figure(certificate((1, 1, 20, 20), plain=False), torch.rand(20, 20))
    assert [text.get_text() for text in axes[0, 1].texts] == ["not recorded"]


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        (torch.tensor([[0.0, 0.25], [0.5, 1.0]]), [[0.0, 0.25], [0.5, 1.0]]),
        (torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8), [[0.0, 0.2], [0.4, 1.0]]),
        (torch.tensor([[-1.0, 0.0], [1.0, 3.0]]), [[0.0, 0.25], [0.5, 1.0]]),
        (torch.full((2, 2), 7.0), [[0.0, 0.0], [0.0, 0.0]]),
    ],
)
def test_image_is_brought_into_the_unit_interval(image, shown):
    _, axes = certificate_figure(certificate((1, 1, 2, 2), k=1), image)
    drawn = torch.from_numpy(np.asarray(axes[0, 0].images[0].get_array()))
    torch.testing.assert_close(drawn, torch.tensor(shown, dtype=torch.float64))


def test_labels_are_titles_of_the_images():
    _, axes = certificate_figure(certificate((2, 1, 8, 8)), torch.rand(2, 8, 8), labels=["cat", "dog"])
    assert [panel.get_title() for panel in axes[:, 0]] == ["cat", "dog"]


def test_no_text_leaves_the_figure_and_no_texts_overlap():
    figure, axes = certificate_figure(certificate((2, 1, 28, 28), k=784, radius=0.123), torch.rand(2, 28, 28))
    figure.draw_without_rendering()
    frame = figure.bbox
    boxes = [panel.title.get_window_extent() for panel in axes.flat if panel.get_title()]
    boxes += [text.get_window_extent() for text in figure.legends[0].get_texts()]
    boxes += [figure.legends[0].get_title().get_window_extent()]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert not any(one.overlaps(two) for index, one in enumerate(boxes) for two in boxes[:index])
    panels = [panel.get_window_extent() for panel in axes.flat]
    assert not any(box.overlaps(panel) for box in boxes for panel in panels)


def test_neither_pyplot_nor_the_image_is_touched():
    before, image = plt.get_fignums(), torch.rand(1, 8, 8)
    kept = image.clone()
    certificate_figure(certificate((1, 1, 8, 8)), image)
    assert plt.get_fignums() == before
    torch.testing.assert_close(image, kept, rtol=0, atol=0)


def test_an_image_that_requires_gradients_is_drawn():
    certificate_figure(certificate((1, 1, 8, 8)), torch.rand(8, 8, requires_grad=True))


def test_features_grouped_by_channel_are_drawn():
    from captum_certified.maps import FeatureLayout

    counts = torch.linspace(1000, 0, 64).long().reshape(1, 64)
    smoothed_map = SmoothedMap.from_counts(counts, n_samples=1000, stdevs=0.2)
    layout = FeatureLayout.of([torch.zeros(1, 3, 8, 8)], is_tuple=False, rows=1, groups="channels")
    object.__setattr__(smoothed_map, "layout", layout)
    _, axes = certificate_figure(Certifier().top_k(smoothed_map, k=5, radius=0.0), torch.rand(3, 8, 8))
    assert (marks(axes[0, 3], _CERTIFIED) | marks(axes[0, 3], _UNCERTIFIED)).sum() == 5


@pytest.mark.parametrize(
    ("map_shape", "image", "match"),
    [
        ((2, 9), torch.rand(2, 9), "Expected one map of images, got .* by `bar_figure`"),
        ((1, 1, 8, 8), torch.rand(1, 1, 9, 8), r"size of the map \(1, 1, 8, 8\), got shape \(1, 1, 9, 8\)"),
        (
            (1, 1, 8, 8),
            torch.rand(1, 1, 16, 16),
            r"Layer methods such as Grad-CAM give maps of .*captum_certified.Upsampled",
        ),
        ((2, 1, 8, 8), torch.rand(3, 1, 8, 8), "2 grey or RGB images"),
        ((1, 1, 8, 8), torch.rand(1, 2, 8, 8), "grey or RGB"),
        ((1, 1, 8, 8), torch.rand(8), "grey or RGB"),
        ((1, 1, 2, 2), torch.tensor([[0.0, float("nan")], [0.0, 0.0]]), "got NaN or infinity"),
        ((1, 1, 2, 2), torch.zeros(2, 2, dtype=torch.complex64), "real numbers, got complex64"),
        ((1, 1, 2, 2), np.array([["a", "b"], ["c", "d"]]), "real numbers, got <U1"),
    ],
)
def test_images_and_maps_that_do_not_fit_are_refused(map_shape, image, match):
    with pytest.raises(InvalidInputError, match=match):
        certificate_figure(certificate(map_shape, k=1), image)


def test_tuples_of_maps_are_refused():
    smoothed_map = SmoothedMap.from_counts((torch.ones(1, 8, 8).long(),) * 2, n_samples=9, stdevs=0.2)
    with pytest.raises(InvalidInputError, match=r"Expected one map of images, got .* by `bar_figure`"):
        certificate_figure(Certifier().top_k(smoothed_map, k=3, radius=0.1), torch.rand(8, 8))


def test_other_certificates_are_refused():
    ranks = Certifier().rank(certificate((1, 1, 8, 8)).map, radius=0.1)
    with pytest.raises(InvalidInputError, match="to be a TopKCertificate or a SelectionCertificate, got RankCert"):
        certificate_figure(ranks, torch.rand(8, 8))


def test_a_wrong_number_of_labels_is_refused():
    with pytest.raises(InvalidInputError, match="Expected 2 `labels`, one for each example, got 1"):
        certificate_figure(certificate((2, 1, 8, 8)), torch.rand(2, 8, 8), labels=["cat"])
