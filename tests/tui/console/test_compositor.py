"""Sending only changed cells gives the same screen as a full redraw, in an independent terminal emulator."""

from __future__ import annotations

import pyte
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from dipddpm.tui.console.compositor import CellUpdate

WIDTH, HEIGHT = 24, 4
CONSOLE = Console(color_system="truecolor", force_terminal=True)
PARTS = st.lists(st.tuples(st.sampled_from("ab⣿▀ "), st.sampled_from(["red", "blue"])), min_size=WIDTH, max_size=WIDTH)


LINES = PARTS.map(lambda parts: Strip([Segment(text, Style(color=colour)) for text, colour in parts], WIDTH))


def _cut(strip: Strip, cuts: set[int]) -> tuple[dict[int, Strip], list[int]]:
    ends = sorted({*cuts, WIDTH})
    return dict(zip([0, *ends[:-1]], strip.divide(ends), strict=True)), ends


def _painted(screen: pyte.Screen) -> list[list[tuple[str, str]]]:
    return [[(cell.data, cell.fg) for _, cell in sorted(row.items())] for _, row in sorted(screen.buffer.items())]


def _terminal(strips: list[Strip]) -> tuple[pyte.Screen, pyte.Stream]:
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for y, strip in enumerate(strips):
        stream.feed(f"\x1b[{y + 1};1H{strip.render(CONSOLE)}")
    return screen, stream


@given(
    st.lists(LINES, min_size=HEIGHT, max_size=HEIGHT),
    st.lists(LINES, min_size=HEIGHT, max_size=HEIGHT),
    st.sets(st.integers(1, WIDTH - 1), max_size=3),
    st.integers(0, 3),
)
def test_cell_update_leaves_same_screen_as_full_redraw(
    before: list[Strip], after: list[Strip], cuts: set[int], more: int
) -> None:
    """Spans that cover all differences suffice, into whatever widgets the lines are cut."""
    spans = []
    for y, (old, new) in enumerate(zip(before, after, strict=True)):
        differ = [x for x, (was, now) in enumerate(zip(old, new, strict=True)) if was != now]
        if differ:
            spans.append((y, max(0, differ[0] - more), min(WIDTH, differ[-1] + 1 + more)))
    cut = [_cut(strip, cuts) for strip in after]
    screen, stream = _terminal(before)
    stream.feed(CellUpdate([chops for chops, _ in cut], spans, [ends for _, ends in cut]).render_segments(CONSOLE))
    assert _painted(screen) == _painted(_terminal(after)[0])


def test_cell_update_sends_only_changed_cells() -> None:
    line = Strip([Segment("unchanged"), Segment("X")], 10)
    sent = CellUpdate([{0: line}], [(0, 9, 10)], [[10]]).render_segments(CONSOLE)
    assert "X" in sent
    assert "unchanged" not in sent
