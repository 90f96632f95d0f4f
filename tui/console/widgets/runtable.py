"""The table of runs: two columns if it is narrow, all columns if it is wide.

Only visible lines are formatted: a table widget that stores every cell takes seconds for 10,000 runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from dipddpm.tui.shared.columns import (
    COLUMNS,
    NARROW,
    STATE_SIGNS,
    TIGHT,
    Column,
    columns_for,
    fit,
    group_cells,
    state_name,
)
from dipddpm.tui.shared.groups import GroupRow, ListEntry
from dipddpm.tui.shared.runlist import RunRow

WIDE_MIN_WIDTH = 72
"""Width from which all columns and a header are shown."""
KIND_MIN_WIDTH = 34
"""Width from which the kind has its own column."""
GROUP = Binding.Group("Runs")
FOLD = "unfold or fold a group; on its header, its options are compared by mean and spread"


class RunTable(ScrollView, can_focus=True):
    """Rows of runs and headers of groups; the cursor stays on its run when rows move.

    Marked runs have a colour; the runs of an unfolded group are indented.
    """

    DEFAULT_CSS = "RunTable { scrollbar-size-vertical: 1; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"run-table--{name}" for name in ("cursor", "header", "dim", "live", "good", "bad", "warn")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False, group=GROUP, tooltip="next or previous run"),
        Binding("up,k", "move(-1)", "up", show=False, group=GROUP, tooltip="next or previous run"),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False, group=GROUP, tooltip="next or previous page"),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False, group=GROUP, tooltip="next or previous page"),
        Binding("home,g", "ends(0)", "first", show=False, group=GROUP, tooltip="first or last run"),
        Binding("end,G", "ends(-1)", "last", show=False, group=GROUP, tooltip="first or last run"),
        Binding("right,l", "fold(False)", "unfold the group", show=False, group=GROUP, tooltip=FOLD),
        Binding("left,h", "fold(True)", "fold the group", show=False, group=GROUP, tooltip=FOLD),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """Posted when the cursor has moved to another run or group, or there is none."""

    @dataclass
    class FoldToggled(Message):
        """Posted when the user folds or unfolds a group."""

        group: str

    def __init__(self) -> None:
        super().__init__(id="runs")
        self._rows: Sequence[ListEntry] = ()
        self._unfolded: set[str] = set()
        self._marked: Mapping[str, str] = {}
        self._sorted = ("", True)
        self.columns = COLUMNS
        """The columns of a wide table."""

    @property
    def row(self) -> RunRow | None:
        """The run under the cursor; None on a group's header."""
        return None if isinstance(self._entry, GroupRow) else self._entry

    @property
    def group(self) -> GroupRow | None:
        """The group whose header is under the cursor, or None."""
        return self._entry if isinstance(self._entry, GroupRow) else None

    @property
    def _entry(self) -> ListEntry | None:
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    @property
    def wide(self) -> bool:
        """True if there is room for all columns."""
        return self.size.width >= WIDE_MIN_WIDTH

    def show(self, rows: Sequence[ListEntry], marked: Mapping[str, str], sort: tuple[str, bool]) -> None:
        """Show these rows; only lines that differ from the screen are repainted.

        `marked` holds the colour of each marked run; `sort` is the sorted column and whether it descends.
        """
        before, was_marked, was_sorted = self._rows, self._marked, (self._sorted, self.columns)
        cursor_id = self._entry.id if self._entry else ""
        self._unfolded = {row.name for row in rows if isinstance(row, GroupRow) and row.unfolded}
        self.columns = columns_for([row for row in rows if isinstance(row, RunRow)])
        self._rows, self._marked, self._sorted = rows, dict(marked), sort
        self.virtual_size = Size(self.size.width, len(rows) + self._header_height)
        self._restore_cursor(cursor_id)
        if was_sorted != (sort, self.columns) or was_marked.keys() != self._marked.keys():
            self.refresh()
            return
        shown = slice(self.scroll_offset.y, self.scroll_offset.y + self.size.height)
        for line, (old, new) in enumerate(zip_longest(before[shown], rows[shown]), start=self._header_height):
            if old != new:
                self._refresh_line(line)

    def go_to(self, run: str) -> bool:
        """Move the cursor to this run; return whether the table holds it."""
        index = self._index_of(run)
        if index is not None:
            self._move_to(index)
        return index is not None

    def _index_of(self, run: str) -> int | None:
        return next((index for index, row in enumerate(self._rows) if row.id == run), None)

    def _restore_cursor(self, run: str) -> None:
        """Move the cursor back to this run, or leave it at its index if the run is gone."""
        if self._entry is not None and self._entry.id == run:
            return
        index = self._index_of(run)
        self._move_to(self.cursor if index is None else index)
        if index is None:
            self.post_message(self.Moved())

    @property
    def _header_height(self) -> int:
        return 1 if self.wide else 0

    def action_move(self, by: int) -> None:
        """Move the cursor by `by` rows."""
        self._move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by `by` pages."""
        self._move_to(self.cursor + by * max(1, self.size.height - self._header_height - 1))

    def action_ends(self, end: int) -> None:
        """Move the cursor to the first (0) or the last row."""
        self._move_to(0 if end == 0 else len(self._rows) - 1)

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, len(self._rows) - 1))
        if index == self.cursor:
            return
        before, self.cursor = self.cursor, index
        top, height = self.scroll_offset.y, max(1, self.size.height - self._header_height)
        if index < top or index >= top + height:
            self.scroll_to(y=index if index < top else index - height + 1, animate=False, immediate=True)
        for changed_index in (before, index):
            self._refresh_line(changed_index - self.scroll_offset.y + self._header_height)
        if self._entry is not None:
            self.post_message(self.Moved())

    def _refresh_line(self, line: int) -> None:
        if 0 <= line < self.size.height:
            self.refresh(Region(0, line, self.size.width, 1))

    def action_fold(self, fold: bool) -> None:
        """Fold or unfold the group under the cursor; folding on one of its runs moves to the header first."""
        if self.group is not None and self.group.unfolded is fold:
            self.post_message(self.FoldToggled(self.group.name))
        elif fold and self.row is not None and self.row.group in self._unfolded:
            self.go_to(f"/{self.row.group}")

    def on_click(self, event: events.Click) -> None:
        """Move the cursor to the clicked row; a double click opens it."""
        index = self.scroll_offset.y + event.y - self._header_height
        if event.y < self._header_height or index >= len(self._rows):
            return
        self._move_to(index)
        if event.chain >= 2 and self._entry is not None:
            self.app.simulate_key("enter")

    def on_resize(self) -> None:
        """Show or hide the header, depending on the width."""
        self.virtual_size = Size(self.size.width, len(self._rows) + self._header_height)
        self.refresh()

    def _style(self, name: str) -> Style:
        # The full style blends a translucent colour with the background; tones then drop the background itself.
        style = self.get_component_rich_style(f"run-table--{name}")
        return style if name == "cursor" else style.without_color + Style(color=style.color)

    def render_line(self, y: int) -> Strip:
        """Return a line of the screen."""
        width = self.size.width
        columns = self.columns if self.wide else NARROW if width >= KIND_MIN_WIDTH else TIGHT
        if self.wide and y == 0:
            return self._draw_header(columns, width)
        index = self.scroll_offset.y + y - self._header_height
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        return self._draw_row(self._rows[index], columns, width, under_cursor=index == self.cursor)

    def _draw_header(self, columns: Sequence[Column], width: int) -> Strip:
        key, descending = self._sorted
        style = self.rich_style + self._style("header")
        segments = [Segment("   ", style)]
        for column, room in _column_widths(columns, width - 3):
            arrow = ("▾" if descending else "▴") if column.key == key else ""
            segments.append(Segment(fit(column.title + arrow, room - 1, align_right=column.align_right) + " ", style))
        return Strip(segments).adjust_cell_length(width, style)

    def _draw_row(self, row: ListEntry, columns: Sequence[Column], width: int, *, under_cursor: bool) -> Strip:
        base = self.rich_style + (self._style("cursor") if under_cursor else Style.null())
        if isinstance(row, GroupRow):
            cells, sign, tone = group_cells(row), *STATE_SIGNS[row.state]
        else:
            cells, sign, tone = self._cells(row, columns), *STATE_SIGNS[state_name(row)]
        colour = self._marked.get(row.id)
        segments = [
            Segment("▌" if colour else " ", base + Style.parse(colour) if colour else base),
            Segment(f"{sign} ", base + self._style(tone)),
        ]
        for column, room in _column_widths(columns, width - 3):
            text = fit(cells.get(column.key, ""), room - 1, align_right=column.align_right)
            quiet = base + self._style("dim") if column.dimmed and not under_cursor else base
            segments.append(Segment(f"{text} ", base + self._style(tone) if column.uses_state_tone else quiet))
        return Strip(segments).adjust_cell_length(width, base)

    def _cells(self, row: RunRow, columns: Sequence[Column]) -> dict[str, str]:
        cells = {column.key: column.text(row) for column in columns}
        if row.group in self._unfolded:
            cells["name"] = f"  {cells['name']}"
        return cells


def _column_widths(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """Return the columns that fit, chosen by rank, with their widths; the elastic one takes the remaining width."""
    chosen = sorted(columns, key=lambda column: column.rank)
    while len(chosen) > 1 and sum(column.width for column in chosen) > width:
        chosen.pop()
    spare = width - sum(column.width for column in chosen)
    return [(column, column.width + (max(0, spare) if column.elastic else 0)) for column in columns if column in chosen]
