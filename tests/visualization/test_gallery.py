"""Properties of every figure: readable text, no change of global state, colours of the palettes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from drawn_text import assert_text_is_readable
from gallery import GALLERY
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_certified import visualization


def test_every_figure_function_is_in_the_gallery():
    assert {name for name in visualization.__all__ if name.endswith("_figure")} == {
        word for make in GALLERY.values() for word in _names(make.__code__)
    }


@pytest.mark.parametrize("name", GALLERY)
def test_no_text_leaves_the_figure_and_no_texts_overlap(name):
    before = plt.get_fignums()
    figure, axes = GALLERY[name]()
    assert isinstance(figure, Figure)
    assert all(isinstance(panel, Axes) for panel in np.atleast_1d(axes).flat)
    assert plt.get_fignums() == before
    assert_text_is_readable(figure)


def test_heat_maps_have_the_colours_of_cividis():
    figure, _ = GALLERY["attack"]()
    assert {
        image.get_cmap().name for panel in figure.axes for image in panel.images if image.get_array().ndim == 2
    } == {
        "gray",
        "cividis",
    }


def test_text_that_overlaps_or_leaves_is_found():
    figure = Figure()
    for x in (0.5, 0.51):
        figure.text(x, 0.5, "text")
    with pytest.raises(AssertionError, match="text"):
        assert_text_is_readable(figure)
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    figure.axes[0].text(0.5, 0.5, "a label")
    with pytest.raises(AssertionError, match="a label"):
        assert_text_is_readable(figure)
    figure = Figure()
    figure.text(0.98, 0.5, "a long text")
    with pytest.raises(AssertionError, match="a long text"):
        assert_text_is_readable(figure)


def _names(code):
    from gallery import _attack

    names = set(code.co_names)
    names |= set(_attack.__code__.co_names) if "_attack" in names else set()
    return {name for name in names if name.endswith("_figure")}
