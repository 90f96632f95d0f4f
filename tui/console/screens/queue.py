"""The runs that wait for a slot on this machine, and their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList, Static
from textual.widgets.option_list import Option

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import queue
from dipddpm.tui.console.background import run_in_background

REFRESH_SECONDS = 1.0


class QueueScreen(ModalScreen[None]):
    """First to be served first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss(None)", "leave"),
        Binding("J,shift+down", "move(1)", "later"),
        Binding("K,shift+up", "move(-1)", "earlier"),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    def __init__(self, changed: Callable[[], None], *, readonly: bool) -> None:
        super().__init__()
        self._changed = changed
        self._readonly = readonly
        self._looking = False
        self._runs: list[tuple[str, str]] = []

    def compose(self) -> ComposeResult:
        """The list."""
        with Vertical(classes="dialog"):
            yield Label("Queue", classes="title", markup=False)
            yield OptionList(markup=False)
            yield Static("No run waits for a slot.", id="nobody", markup=False)
            yield Static("J later   K earlier   esc leave", classes="keys", markup=False)

    def on_mount(self) -> None:
        """Look now, and every second."""
        self._look()
        self.set_interval(REFRESH_SECONDS, self._look)

    def _look(self) -> None:
        if not self._looking:  # a slow disk is asked once at a time
            self._looking = True
            run_in_background(self.app, _waiting, self._show, self._failed)

    def _show(self, runs: list[tuple[str, str]]) -> None:
        self._looking = False
        if not self.is_mounted or not self.is_attached:
            return
        self.query_one("#nobody").display = not runs
        options = self.query_one(OptionList)
        options.display = bool(runs)
        if runs == self._runs:
            return
        chosen = self._chosen
        self._runs = runs
        options.clear_options()
        lines = (
            f"{position}  {printable(run, 60)}  for {printable(to)}" for position, (run, to) in enumerate(runs, start=1)
        )
        options.add_options([Option(line) for line in lines])
        names = [run for run, _ in runs]
        options.highlighted = names.index(chosen) if chosen in names else 0 if runs else None
        options.focus()

    @property
    def _chosen(self) -> str:
        index = self.query_one(OptionList).highlighted
        return self._runs[index][0] if index is not None and index < len(self._runs) else ""

    def action_cursor(self, by: int) -> None:
        """Move as vim does."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if by > 0 else options.action_cursor_up()

    def action_move(self, by: int) -> None:
        """Serve the chosen run later or earlier."""
        if self._readonly or not self._chosen:
            return
        run = self._chosen

        def move() -> list[tuple[str, str]]:
            queue.move(run, by)
            return _waiting()

        def moved(runs: list[tuple[str, str]]) -> None:
            self._show(runs)
            self._changed()

        run_in_background(self.app, move, moved, self._failed)

    def _failed(self, error: UserError) -> None:
        self._looking = False
        self.app.notify(printable(str(error)), severity="error", markup=False)


def _waiting() -> list[tuple[str, str]]:
    """The waiting runs and their devices; none where the queue can't be read."""
    try:
        return [(ticket.run, ", ".join(ticket.devices)) for _, ticket in queue.waiting()]
    except (UserError, OSError):
        return []
