"""What the worker's process printed: warnings of libraries, and the traceback of what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widgets import Log, Static

from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import LOG_FILE
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane

MAX_LINES = 5000


class LogPane(Pane):
    """Follows worker.log from its last lines on."""

    _run = ""

    def compose(self) -> ComposeResult:
        """The lines, or a word on why there are none."""
        yield Static("worker.log", id="log-title", markup=False)
        yield Log(highlight=False, max_lines=MAX_LINES, id="log-lines")

    def present(self, view: View) -> None:
        """Make room for this run's lines; they come by `add`."""
        if view.run.id != self._run:
            self.clear()
            self._run = view.run.id
            self.query_one("#log-title", Static).update(printable(str(view.run.folder / LOG_FILE)))

    def clear(self) -> None:
        """Forget the lines."""
        self._run = ""
        self.query_one(Log).clear()

    def add(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Show more lines."""
        log = self.query_one(Log)
        if restarted:
            log.clear()
        log.write_lines(lines)
