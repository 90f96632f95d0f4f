"""A widget drawn line by line that repaints only the cells that changed."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import get_character_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from dipddpm.core.io.sanitize import printable

MERGE_CELLS = 6
"""Changes closer than this many cells are sent as one, since moving the cursor costs as many bytes."""


class LinesWidget(Widget):
    """Remembers the lines on the screen and repaints only the cells in which newly drawn lines differ.

    Subclasses implement `draw`, and call `redraw` when their content has changed.
    """

    _lines: Sequence[Strip] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Collect the component classes from the widget's CSS, so that each is written only once."""
        cls.COMPONENT_CLASSES = set(re.findall(r"& > \.([\w-]+)", cls.DEFAULT_CSS))
        super().__init_subclass__(**options)

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the content at this size; there may be fewer lines, and shorter ones."""
        raise NotImplementedError

    def redraw(self) -> None:
        """Draw again and repaint the cells that differ."""
        size = self.content_size
        if not self.is_mounted or not size:
            return
        try:
            lines = self.draw(size.width, size.height)
        except Exception as error:  # a fault in one widget must not end the console
            lines = [[Segment(report(self, error), Style(color="red"))]]
        drawn = [_strip(line, size.width) for line in lines[: size.height]]
        drawn += [_strip([], size.width)] * (size.height - len(drawn))
        before, self._lines = self._lines, drawn
        if len(before) != len(drawn):
            self.refresh()
            return
        dirty = [
            Region(start, y, end - start, 1)
            for y, (old, new) in enumerate(zip(before, drawn, strict=True))
            if old != new
            for start, end in changed_ranges(old, new)
        ]
        if dirty:
            self.refresh(*dirty)

    def component_style(self, component: str) -> Style:
        """Return the style of a component class."""
        return self.get_component_rich_style(component)

    def render_line(self, y: int) -> Strip:
        """Return a line as last drawn."""
        strip = self._lines[y] if y < len(self._lines) else Strip.blank(self.content_size.width)
        return strip.apply_style(self.rich_style)

    def on_resize(self, _event: events.Resize) -> None:
        """Draw the content at the new size."""
        self._lines = []
        self.redraw()

    def notify_style_update(self) -> None:
        """Draw again in the colours of the new theme."""
        super().notify_style_update()
        self._lines = []
        self.call_later(self.redraw)


def report(widget: Widget, error: Exception) -> str:
    """Return a line of text about an error in a widget, and write the traceback to Textual's log."""
    widget.log.error("".join(traceback.format_exception(error)))
    return printable(f"This can't be drawn: {type(error).__name__}: {error}", 200)


def changed_ranges(old: Strip, new: Strip) -> list[tuple[int, int]]:
    """Return the ranges of columns in which two lines of the same width differ, merged if they are close."""
    ranges: list[tuple[int, int]] = []
    was, now = _cells(old), _cells(new)
    for column in range(max(len(was), len(now))):
        if column < len(was) and column < len(now) and was[column] == now[column]:
            continue
        if ranges and column - ranges[-1][1] < MERGE_CELLS:
            ranges[-1] = (ranges[-1][0], column + 1)
        else:
            ranges.append((column, column + 1))
    return ranges


def _cells(strip: Strip) -> list[tuple[str, Style | None]]:
    """Return the character and style of each column; a wide character fills two columns."""
    cells: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        for character in text:
            cells += [(character, style)] * get_character_cell_size(character)
    return cells


def _strip(line: Iterable[Segment], width: int) -> Strip:
    return Strip(Segment.simplify(line)).adjust_cell_length(width)


def justify(left: Sequence[Segment], right: Sequence[Segment], width: int) -> list[Segment]:
    """Join two texts at the ends of a line; the left one is cut if both don't fit."""
    from_right = Segment.get_line_length(list(right))
    room = max(0, width - from_right - (1 if from_right else 0))
    fitted_left = Segment.adjust_line_length(list(left), room)
    return [*fitted_left, Segment(" " * min(1, width - room)) if from_right else Segment(""), *right]
