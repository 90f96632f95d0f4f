"""What the runs take up on disk, largest first, and what can go."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run, trash
from dipddpm.core.runs.trash import DiskUse
from dipddpm.tui.console.commands import RunCommands
from dipddpm.tui.console.screens.surface import Surface
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.columns import fit, format_size

MAX_ROWS = 200


class Storage(ModalScreen[None]):
    """Sizes are counted, and files removed, beside the screen: a slow disk takes its time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave"),
        Binding("b", "best", "keep best only"),
        Binding("p", "prune", "prune all"),
        Binding("d", "delete", "delete"),
        Binding("x", "empty", "empty the trash"),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._surface = Surface(self, session, self._count)
        self._commands = RunCommands(session, self._surface)
        self._uses: dict[str, DiskUse] = {}

    def compose(self) -> ComposeResult:
        """The table."""
        with Vertical(classes="dialog wide"):
            yield Label("Disk use", classes="title", markup=False)
            yield Static("counting ...", id="total", markup=False)
            yield DataTable(cursor_type="row", zebra_stripes=False)
            yield Static(
                "b keep best only   p prune all ended   d delete   x empty the trash   esc leave",
                classes="keys",
                markup=False,
            )

    def on_mount(self) -> None:
        """Count."""
        table = self.query_one(DataTable)
        table.add_columns("run", "total", "checkpoints", "images")
        table.focus()
        self._count()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Looking is always allowed."""
        return action not in {"best", "prune", "delete", "empty"} or not self._session.options.readonly

    def _count(self) -> None:
        runs = self._session.runs

        def count() -> tuple[dict[str, DiskUse], int]:
            uses = {run.id: trash.disk_use(run) for run in runs.runs()}
            return uses, sum(trash.disk_use(Run(runs.root / trash.TRASH / name)).total for name in trash.trashed(runs))

        self._surface.background(count, self._show)

    def _show(self, counted: tuple[dict[str, DiskUse], int]) -> None:
        if not self.is_mounted or not self.is_attached:
            return
        uses, trash_size = counted
        self._uses = uses
        table = self.query_one(DataTable)
        row_index = table.cursor_row
        table.clear()
        largest = sorted(uses, key=lambda run: uses[run].total, reverse=True)[:MAX_ROWS]
        for run in largest:
            use = uses[run]
            cells = (fit(format_size(byte_count), 9, align_right=True) for byte_count in use)
            table.add_row(Text(printable(run, 60)), *cells, key=run)
        table.move_cursor(row=min(row_index, max(0, len(largest) - 1)))
        total = format_size(sum(use.total for use in uses.values()))
        more = f"; the {MAX_ROWS} largest are shown" if len(uses) > MAX_ROWS else ""
        self.query_one("#total", Static).update(
            f"{len(uses)} runs, {total}; {format_size(trash_size)} in the trash{more}"
        )

    @property
    def _chosen(self) -> Run | None:
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return Run(self._session.runs.root / key) if key else None

    def action_cursor(self, by: int) -> None:
        """Move as vim does."""
        table = self.query_one(DataTable)
        table.action_cursor_down() if by > 0 else table.action_cursor_up()

    def action_best(self) -> None:
        """Keep the best model of the chosen run only."""
        if self._chosen is not None:
            self._commands.keep_best_only(self._chosen)

    def action_prune(self) -> None:
        """Keep the best models of all runs that have ended only."""
        self._commands.prune([Run(self._session.runs.root / name) for name in self._uses])

    def action_delete(self) -> None:
        """Delete the chosen run."""
        if self._chosen is not None:
            self._commands.delete(self._chosen, self._chosen.id)

    def action_empty(self) -> None:
        """Delete for good what was deleted."""
        self._commands.empty_trash()
