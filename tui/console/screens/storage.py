"""What the runs take up on disk, largest first, and what can go."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import DataTable, Label, Static

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run
from dipddpm.core.runs import trash as keep
from dipddpm.core.runs.trash import DiskUse
from dipddpm.tui.console.screens.dialogs import ConfirmDialog
from dipddpm.tui.shared.columns import fit, format_size

if TYPE_CHECKING:
    from dipddpm.tui.console.app import DipddpmApp

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

    def __init__(self, dipddpm_app: DipddpmApp) -> None:
        super().__init__()
        self._dipddpm_app = dipddpm_app
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
        return action not in {"best", "prune", "delete", "empty"} or not self._dipddpm_app.options.readonly

    def _count(self) -> None:
        runs = self._dipddpm_app.runs

        def count() -> Callable[[], None]:
            uses = {run.id: keep.disk_use(run) for run in runs.runs()}
            trash = sum(keep.disk_use(Run(runs.root / keep.TRASH / name)).total for name in keep.trashed(runs))
            return partial(self._show, uses, trash)

        self._dipddpm_app.run_in_background(count)

    def _show(self, uses: dict[str, DiskUse], trash: int) -> None:
        if not self.is_mounted:
            return
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
        self.query_one("#total", Static).update(f"{len(uses)} runs, {total}; {format_size(trash)} in the trash{more}")

    @property
    def _chosen(self) -> Run | None:
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        key = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return Run(self._dipddpm_app.runs.root / key) if key else None

    def action_cursor(self, by: int) -> None:
        """Move as vim does."""
        table = self.query_one(DataTable)
        table.action_cursor_down() if by > 0 else table.action_cursor_up()

    def action_best(self) -> None:
        """Keep the best model of the chosen run only."""
        run = self._chosen
        if run is not None:
            question = f"Keep only the best model of {run.id}?"
            self._ask(
                question,
                "It can then be neither resumed nor extended.",
                lambda: self._free(partial(keep.keep_best_only, run)),
            )

    def action_prune(self) -> None:
        """Keep the best models of all runs that have ended only."""
        runs = [Run(self._dipddpm_app.runs.root / name) for name in self._uses]
        detail = "They can then be neither resumed nor extended. Live runs, and runs without a best model, stay whole."
        self._ask(
            "Keep only the best model of every run that has ended?",
            detail,
            lambda: self._free(partial(keep.prune, runs)),
        )

    def _free(self, work: Callable[[], int]) -> None:
        self._dipddpm_app.run_in_background(lambda: partial(self._report_done, f"{format_size(work())} freed."))

    def _report_done(self, words: str) -> None:
        self._dipddpm_app.notify(words, markup=False)
        self._count()

    def action_delete(self) -> None:
        """Delete the chosen run."""
        run = self._chosen
        if run is not None:
            self._ask(
                f"Delete {run.id}?",
                "Until you quit, u on the main screen brings it back.",
                lambda: self._delete_run(run),
            )

    def _delete_run(self, run: Run) -> None:
        try:
            keep.delete(run)
        except UserError as error:
            self._dipddpm_app.show_error(error)
        else:
            self._dipddpm_app.deleted.append(run.id)
        self._count()

    def action_empty(self) -> None:
        """Delete for good what was deleted."""
        self._ask("Empty the trash?", "What was deleted can then not be brought back.", self._empty)

    def _empty(self) -> None:
        def empty() -> Callable[[], None]:
            keep.empty_trash(self._dipddpm_app.runs)
            return partial(self._report_done, "The trash is empty.")

        self._dipddpm_app.deleted.clear()
        self._dipddpm_app.run_in_background(empty)

    def _ask(self, question: str, detail: str, act: object) -> None:
        def answered(sure: bool | None) -> None:
            if sure and callable(act):
                act()

        self.app.push_screen(ConfirmDialog(question, detail), answered)
