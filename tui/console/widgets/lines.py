"""A widget that is drawn as lines, and that sends to the terminal only the cells that changed."""

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
"""Changes nearer to each other than this many cells are sent as one: moving the cursor costs as much."""


class LinesWidget(Widget):
    """Keeps the lines on the screen; `draw` makes new ones, and only where they differ something is repainted.

    Subclasses implement `draw` and call `redraw` when what they show has changed.
    """

    _lines: Sequence[Strip] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Take the component classes from the widget's own CSS, so that each is written once."""
        cls.COMPONENT_CLASSES = set(re.findall(r"& > \.([\w-]+)", cls.DEFAULT_CSS))
        super().__init_subclass__(**options)

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """The content at this size; lines may be missing or short."""
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
        """The style of a component class."""
        return self.get_component_rich_style(component)

    def render_line(self, y: int) -> Strip:
        """One line as it was drawn last."""
        strip = self._lines[y] if y < len(self._lines) else Strip.blank(self.content_size.width)
        return strip.apply_style(self.rich_style)

    def on_resize(self, _event: events.Resize) -> None:
        """The content fits the size."""
        self._lines = []
        self.redraw()

    def notify_style_update(self) -> None:
        """Colours come from the theme."""
        super().notify_style_update()
        self._lines = []
        self.call_later(self.redraw)


def report(widget: Widget, error: Exception) -> str:
    """One line about a widget that can't be drawn; the traceback goes to Textual's log."""
    widget.log.error("".join(traceback.format_exception(error)))
    return printable(f"This can't be drawn: {type(error).__name__}: {error}", 200)


def changed_ranges(old: Strip, new: Strip) -> list[tuple[int, int]]:
    """The columns in which two lines of the same width differ, as few and short ranges."""
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
    """What each column shows; a wide character fills its second column too."""
    cells: list[tuple[str, Style | None]] = []
    for text, style, _ in strip:
        for character in text:
            cells += [(character, style)] * get_character_cell_size(character)
    return cells


def _strip(line: Iterable[Segment], width: int) -> Strip:
    return Strip(Segment.simplify(line)).adjust_cell_length(width)


def justify(left: Sequence[Segment], right: Sequence[Segment], width: int) -> list[Segment]:
    """Something at both ends of a line; where both don't fit, the left one is cut."""
    from_right = Segment.get_line_length(list(right))
    room = max(0, width - from_right - (1 if from_right else 0))
    fitted_left = Segment.adjust_line_length(list(left), room)
    return [*fitted_left, Segment(" " * min(1, width - room)) if from_right else Segment(""), *right]
