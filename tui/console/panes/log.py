"""The log pane: the output of the worker's process, such as libraries' warnings and tracebacks."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.widgets import Log, Static

from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import LOG_FILE
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane

MAX_LINES = 5000
EMPTY = "The run's process has printed nothing."


class LogPane(Pane):
    """The lines of worker.log, from its last ones on."""

    _run = ""

    def compose(self) -> ComposeResult:
        """Add a line with the file's name and folder, and the output."""
        yield Static("worker.log", id="log-title", markup=False)
        yield Static(EMPTY, id="log-empty", markup=False)
        yield Log(highlight=False, max_lines=MAX_LINES, id="log-lines")

    def present(self, view: View) -> None:
        """Name this run's file and drop another run's lines; `add` adds the new ones."""
        if view.run.id != self._run:
            self.clear()
            self._run = view.run.id
            self.query_one("#log-title", Static).update(printable(f"{LOG_FILE} in {view.run.folder}"))
        self.query_one("#log-empty", Static).display = not self.query_one(Log).line_count

    def clear(self) -> None:
        """Drop the lines."""
        self._run = ""
        self.query_one(Log).clear()

    def add(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Add lines, after dropping the previous ones if the file has `restarted`."""
        log = self.query_one(Log)
        if restarted:
            log.clear()
        log.write_lines(lines)
        self.query_one("#log-empty", Static).display = not log.line_count
