"""The dialog with the runs that wait for a slot on this machine, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import queue
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.screens.dialogs import Dialog

REFRESH_SECONDS = 1.0


class QueueScreen(Dialog[None]):
    """The waiting runs, in the order in which they will start; the order can be changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss(None)", "leave"),
        Binding("J,shift+down", "move(1)", "later"),
        Binding("K,shift+up", "move(-1)", "earlier"),
    ]
    KEYS = "J later   K earlier   esc leave"

    def __init__(self, changed: Callable[[], None], *, readonly: bool) -> None:
        super().__init__("Queue")
        self._changed = changed
        self._readonly = readonly
        self._is_reading = False
        self._runs: list[tuple[str, str]] = []

    def content(self) -> Iterable[Widget]:
        """Return the list of waiting runs."""
        yield OptionList(markup=False)
        yield Static(id="no-waiting-run", markup=False)

    def on_mount(self) -> None:
        """Read the queue now, and every second."""
        self._read_queue()
        self.set_interval(REFRESH_SECONDS, self._read_queue)

    def _read_queue(self) -> None:
        if not self._is_reading:  # on a slow disk, one read at a time
            self._is_reading = True
            run_in_background(self.app, _waiting, self._show, lambda error: self._show([], printable(str(error))))

    def _show(self, runs: list[tuple[str, str]], reason: str = "No run waits for a slot.") -> None:
        """Show the waiting runs, or the reason why there are none."""
        self._is_reading = False
        if not self.is_mounted or not self.is_attached:
            return
        static = self.query_one("#no-waiting-run", Static)
        static.update(reason)
        static.display = not runs
        options = self.query_one(OptionList)
        options.display = bool(runs)
        if runs == self._runs:
            return
        chosen = self._chosen
        self._runs = runs
        options.set_options(
            Option(f"{position}  {printable(run, 60)}  for {printable(devices)}")
            for position, (run, devices) in enumerate(runs, start=1)
        )
        names = [run for run, _ in runs]
        options.highlighted = names.index(chosen) if chosen in names else 0 if runs else None
        options.focus()

    @property
    def _chosen(self) -> str:
        index = self.query_one(OptionList).highlighted
        return self._runs[index][0] if index is not None and index < len(self._runs) else ""

    def action_move(self, by: int) -> None:
        """Move the chosen run later or earlier in the queue."""
        if self._readonly or not (run := self._chosen):
            return

        def move() -> list[tuple[str, str]]:
            queue.move(run, by)
            return _waiting()

        def moved(runs: list[tuple[str, str]]) -> None:
            self._show(runs)
            self._changed()

        def failed(error: UserError) -> None:
            self.app.notify(printable(str(error)), severity="error", markup=False)

        run_in_background(self.app, move, moved, failed)


def _waiting() -> list[tuple[str, str]]:
    """Return the waiting runs and their devices. Raises QueueError."""
    return [(ticket.run, ", ".join(ticket.devices)) for _, ticket in queue.waiting()]
