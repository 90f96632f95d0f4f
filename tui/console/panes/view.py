"""The base class of all panes; a pane stores no data except its content on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.widgets.lines import report


class Pane(Widget):
    """Base class of the five panes."""

    DEFAULT_CSS = """
    Pane { height: 1fr; layout: vertical; }
    Pane > .trouble { dock: top; height: 1; color: $error; text-overflow: ellipsis; text-wrap: nowrap; }
    """

    class Ready(Message):
        """Posted when the pane is first on the screen or has a new size, so that its view is shown."""

    def on_mount(self) -> None:
        """Post `Ready`, since a pane that already has its size gets no resize event."""
        self.call_after_refresh(self.post_message, self.Ready())

    def on_resize(self) -> None:
        """Post `Ready` for the new size."""
        self.post_message(self.Ready())

    def show(self, view: View) -> None:
        """Present the view, or one line on the error: a bug in a pane must not end the console."""
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
        """Show this view. It is called a few times a second, so an unchanged view must cost nothing."""
        raise NotImplementedError

    def add(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Add lines printed by the run's process."""

    def clear(self) -> None:
        """Drop the content, before another run is shown."""
