"""Functions that find where Matplotlib puts the text of a figure."""

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

_TOLERANCE = 0.5  # pixels


def texts_of(figure):
    """Every text that is drawn, with its box in pixels; ticks beyond the ends of an axis are not."""
    FigureCanvasAgg(figure).draw()
    ticks = {id(tick.label1) for axis in figure.findobj(Axis) for tick in axis.get_major_ticks()}
    shown = [label for axis in figure.findobj(Axis) for label in _tick_labels(axis)]
    others = [text for text in figure.findobj(Text) if id(text) not in ticks]
    found = {id(text): text for text in [*shown, *others] if text.get_visible() and text.get_text().strip()}
    return [(text.get_text(), text.get_window_extent()) for text in found.values()]


def assert_text_is_readable(figure):
    """All text lies inside the figure, no two texts intersect, and no line of a plot goes through a text."""
    texts, frame = texts_of(figure), figure.bbox
    assert texts
    for content, box in texts:
        assert box.x0 >= frame.x0 - _TOLERANCE, content
        assert box.y0 >= frame.y0 - _TOLERANCE, content
        assert box.x1 <= frame.x1 + _TOLERANCE, content
        assert box.y1 <= frame.y1 + _TOLERANCE, content
    for index, (one, first) in enumerate(texts):
        for other, second in texts[:index]:
            assert not first.overlaps(second), (one, other)
        for line in lines_of(figure):
            assert not line.intersects_bbox(first, filled=False), (one, line.get_extents())


def lines_of(figure):
    """The lines of every plot, in pixels. Lines of legends and ticks belong to their texts."""
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_linestyle() != "None":
                yield line.get_transform().transform_path(line.get_path())


def _tick_labels(axis):
    if not axis.get_visible() or not axis.axes.axison:
        return []
    low, high = sorted(axis.get_view_interval())
    margin = 1e-9 * (high - low)
    return [tick.label1 for tick in axis.get_major_ticks() if low - margin <= tick.get_loc() <= high + margin]
