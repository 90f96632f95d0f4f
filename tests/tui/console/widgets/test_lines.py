"""Line widgets: the ranges in which lines differ, and that only these are repainted."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from dipddpm.tui.console.widgets.lines import MERGE_CELLS, LinesWidget, changed_ranges, justify
from tests.tui.console.widgets.conftest import OpenStage
from tests.tui.driving import until_idle

Parts = list[tuple[str, Style]]
RED, BLUE = Style(color="red"), Style(color="blue")
LINES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "⣿", "界"]), st.sampled_from([RED, BLUE])), min_size=1, max_size=30
)


def _strip(parts: Parts) -> Strip:
    return Strip(Segment.simplify(Segment(text, style) for text, style in parts))


@given(LINES, LINES)
def test_changed_ranges_cover_exactly_the_differences(one: Parts, other: Parts) -> None:
    old, new = _strip(one), _strip(other)
    width = max(old.cell_length, new.cell_length)
    old, new = old.adjust_cell_length(width), new.adjust_cell_length(width)

    def cells(strip: Strip) -> list[tuple[str, Style | None]]:
        return [
            (character, style)
            for text, style, _ in strip
            for character in text
            for _ in range(Segment(character).cell_length)
        ]

    differ = [x for x in range(width) if cells(old)[x] != cells(new)[x]]
    ranges = changed_ranges(old, new)
    assert all(any(first <= x < last for first, last in ranges) for x in differ)
    assert all(first in differ and last - 1 in differ for first, last in ranges)
    assert all(later[0] - earlier[1] >= MERGE_CELLS for earlier, later in itertools.pairwise(ranges))


def test_justify_keeps_right_end_before_left() -> None:
    def text(segments: list[Segment]) -> str:
        return "".join(segment.text for segment in segments)

    assert text(justify([Segment("left")], [Segment("right")], 12)) == "left   right"
    assert text(justify([Segment("a long title")], [Segment("right")], 12)) == "a long right"
    assert text(justify([Segment("left")], [], 6)) == "left  "


class Words(LinesWidget):
    def __init__(self, *words: str) -> None:
        super().__init__()
        self.words = words

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        return [[Segment(word)] for word in self.words]


async def test_lines_widget_repaints_only_changed_cells(stage: OpenStage, repainted: list[float]) -> None:
    widget = Words("one two three", "four")
    async with stage(widget, (20, 4)) as (app, pilot):
        assert app.lines()[:2] == ["one two three", "four"]
        repainted.clear()
        widget.redraw()
        assert repainted == []
        widget.words = ("one 2wo three", "four")
        widget.redraw()
        assert repainted == [1]
        await until_idle(pilot)
        assert app.lines()[:2] == ["one 2wo three", "four"]


async def test_lines_widget_cuts_long_lines_and_blanks_missing_ones(stage: OpenStage) -> None:
    async with stage(Words("x" * 50, "y"), (10, 3)) as (app, _):
        assert app.lines() == ["x" * 10, "y", ""]


async def test_lines_widget_redraws_on_resize_and_theme_change(stage: OpenStage) -> None:
    widget = Words("abc")
    async with stage(widget, (10, 3)) as (app, pilot):
        await pilot.resize_terminal(12, 5)
        await until_idle(pilot)
        assert app.lines() == ["abc", "", "", "", ""]
        before = app.styled("abc")[0].color
        app.theme = "day"
        await until_idle(pilot)
        assert app.styled("abc")[0].color != before
