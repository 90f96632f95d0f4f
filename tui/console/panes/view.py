"""What all panes have in common: they keep nothing of their own but what is on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.widgets.lines import report


class Pane(Widget):
    """One of the five panes."""

    DEFAULT_CSS = """
    Pane { height: 1fr; layout: vertical; }
    Pane > .trouble { dock: top; height: 1; color: $error; text-overflow: ellipsis; text-wrap: nowrap; }
    """

    class Ready(Message):
        """The pane stands on the screen, at another size than before, and wants something to show."""

    def on_mount(self) -> None:
        """A pane that was given its size before it listened is not told of it."""
        self.call_after_refresh(self.post_message, self.Ready())

    def on_resize(self) -> None:
        """What fits has changed."""
        self.post_message(self.Ready())

    def show(self, view: View) -> None:
        """Present the view, or one line on why that can't be done: a fault in a pane must not end the console."""
        trouble = ""
        try:
            self.present(view)
        except Exception as error:
            trouble = report(self, error)
        line = next(iter(self.query(".trouble").results(Static)), None)
        if line is not None:
            line.update(trouble)
            line.display = bool(trouble)
        elif trouble:
            self.mount(Static(trouble, classes="trouble", markup=False))

    def present(self, view: View) -> None:
        """Show this. Called a few times a second; what hasn't changed must cost nothing."""
        raise NotImplementedError

    def add(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Take what the run's process printed."""

    def clear(self) -> None:
        """Another run comes: forget what was shown."""
