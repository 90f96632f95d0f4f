"""The figure of differences: marks on the right side of zero, hollow where 0 is in bounds, far ones at the end."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D

from dipddpm.core.report.interval_plot import IntervalMark, IntervalPanel, IntervalPlot
from dipddpm.core.report.plots import draw
from dipddpm.core.report.style import COLOURS, COLUMN

MARKS = [
    IntervalMark("a", "one", 1.0, 0.5, 1.5),
    IntervalMark("a", "two", -0.2, -0.6, 0.2),
    IntervalMark("b", "one", float("inf"), None, None),
    IntervalMark("b", "two", -0.9, -1.1, -0.7),
]


def plot(marks: list[IntervalMark]) -> IntervalPlot:
    rows = {"a": "first row", "b": "second row"}
    return IntervalPlot(
        "A title", "gain", "worse", "better", rows, ["one", "two"], "names", [IntervalPanel("x", marks)]
    )


def position(line: Line2D) -> float:
    """Return where a mark lies on the axis of differences."""
    return float(np.asarray(line.get_xdata())[0])


def test_marks_lie_at_their_means_and_are_hollow_where_zero_is_in_bounds() -> None:
    (axes,) = draw(plot(MARKS), COLUMN).axes
    points = {
        (round(position(line), 3), line.get_markerfacecolor()) for line in axes.lines if line.get_linestyle() == "None"
    }
    assert points == {(1.0, COLOURS[0]), (-0.2, "white"), (-0.9, COLOURS[1])}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first row", "second row"]
    low, high = axes.get_xlim()
    assert low == -high


def test_a_mark_far_from_the_others_is_drawn_at_the_end_of_the_axis() -> None:
    many = [IntervalMark("a", "one", 0.01 * i, None, None) for i in range(100)]
    (axes,) = draw(plot([*many, IntervalMark("b", "one", 50.0, 49.0, 51.0)]), COLUMN).axes
    ends = [line for line in axes.lines if line.get_marker() == ">"]
    assert len(ends) >= 1 and axes.get_xlim()[1] < 5
    assert all(position(line) <= axes.get_xlim()[1] for line in ends)


def test_a_plot_without_marks_can_be_drawn() -> None:
    (axes,) = draw(plot([])).axes
    assert axes.get_title(loc="left").strip() == "x"
