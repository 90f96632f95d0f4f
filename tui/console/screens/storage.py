"""The dialog with the disk use of the runs, in which space can be freed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import DataTable, Static

from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run, trash
from dipddpm.core.runs.trash import DiskUse
from dipddpm.tui.console.commands import RunCommands
from dipddpm.tui.console.screens.dialogs import Dialog
from dipddpm.tui.console.screens.surface import Surface
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.columns import fit, format_size

MAX_ROWS = 200


class Storage(Dialog[None]):
    """The disk use of each run, largest first. Sizes are counted and files removed in the background."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "free('best')", "prune: keep only the best model"),
        Binding("p", "free('all')", "prune all: keep only the best model of every ended run"),
        Binding("d", "free('run')", "delete the run"),
        Binding("x", "free('trash')", "empty the trash"),
    ]
    KEYS = "b prune   p prune all   d delete   x empty the trash   esc leave"
    BOX = "dialog wide"

    def __init__(self, session: Session) -> None:
        super().__init__("Disk use")
        self._session = session
        self._surface = Surface(self, session, self._count)
        self._commands = RunCommands(session, self._surface)
        self._runs: list[Run] = []
        """The runs, largest first."""

    def content(self) -> Iterable[Widget]:
        """Return the line with the total, and the table."""
        yield Static("counting ...", id="total", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=False)

    def on_mount(self) -> None:
        """Prepare the table and count the sizes."""
        table = self.query_one(DataTable)
        table.add_columns("run", "total", "checkpoints", "images")
        table.focus()
        self._count()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key applies; with --readonly, no space can be freed."""
        return action != "free" or not self._session.options.readonly

    def _count(self) -> None:
        runs = self._session.runs

        def count() -> tuple[list[tuple[Run, DiskUse]], int]:
            uses = [(run, trash.disk_use(run)) for run in runs.runs()]
            uses.sort(key=lambda entry: entry[1].total, reverse=True)
            return uses, sum(trash.disk_use(Run(runs.root / trash.TRASH / name)).total for name in trash.trashed(runs))

        self._surface.background(count, self._show)

    def _show(self, counted: tuple[list[tuple[Run, DiskUse]], int]) -> None:
        if not self.is_mounted or not self.is_attached:
            return
        uses, trash_size = counted
        self._runs = [run for run, _ in uses]
        table = self.query_one(DataTable)
        row_index = table.cursor_row
        table.clear()
        for run, use in uses[:MAX_ROWS]:
            cells = (fit(format_size(byte_count), 9, align_right=True) for byte_count in use)
            table.add_row(Text(printable(run.id, 60)), *cells)
        table.move_cursor(row=max(0, min(row_index, table.row_count - 1)))
        total = format_size(sum(use.total for _, use in uses))
        more = f"; the {MAX_ROWS} largest are shown" if len(uses) > MAX_ROWS else ""
        count = f"{len(uses)} run{'' if len(uses) == 1 else 's'}"
        words = f"{count}, {total}; {format_size(trash_size)} in the trash{more}"
        self.query_one("#total", Static).update(words)

    def action_free(self, what: str) -> None:
        """Free space: keep only the best model of the chosen run or all runs, delete a run, or empty the trash."""
        if what == "all":
            self._commands.prune(self._runs)
        elif what == "trash":
            self._commands.empty_trash()
        elif self._runs:
            run = self._runs[self.query_one(DataTable).cursor_row]
            if what == "best":
                self._commands.keep_best_only(run)
            else:
                self._commands.delete(run, run.id)
