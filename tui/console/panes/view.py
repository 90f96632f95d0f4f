"""What a pane is given to show. Panes keep nothing of their own but what is on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from dipddpm.core.runs import Run
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.console.widgets.lines import report
from dipddpm.tui.shared.runlist import RunRow


@dataclass(frozen=True)
class ComparedRun:
    """A run that is compared."""

    row: RunRow
    series: RunSeries
    run: Run


@dataclass(frozen=True)
class ComparisonEntry:
    """A marked run, or several that differ in their seeds only; its colour stays the same as long as it is marked.

    Of several, not all need have been read: `members` are those whose curves are shown, `rows` are of all.
    """

    title: str
    members: Sequence[ComparedRun]
    rows: Sequence[RunRow]
    colour_index: int
    short_title: str = ""
    """A name for a place where the title doesn't fit; empty where it has none."""

    @property
    def first(self) -> ComparedRun:
        """The run itself, or the one that stands for the others."""
        return self.members[0]


@dataclass(frozen=True)
class View:
    """The run under the cursor, the time cursor, the marked runs and how people want to see them."""

    run: Run
    row: RunRow
    series: RunSeries
    preferences: Preferences
    step: int | None = None
    """Where the time cursor stands; None follows the run."""
    marked: Sequence[ComparisonEntry] = ()
    """What is compared: the marked runs, or the combinations of the group under the cursor."""


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
