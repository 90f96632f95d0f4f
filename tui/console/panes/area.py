"""The right half of the main screen: the tabs, the lines about the run under the cursor, and the open pane."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.preferences import PaneName
from dipddpm.tui.console.session import Session
from dipddpm.tui.console.widgets.keyline import Tabs
from dipddpm.tui.console.widgets.runhead import RunHead


def empty_hint(session: Session) -> str:
    """Return a hint for an empty list."""
    if session.rows:
        return "No run matches the filter.\n\n/  change it     esc  show all runs"
    start = "" if session.options.readonly else "n  start the first one\n\nor, in a shell:\n"
    return f"No runs in {session.options.root} yet.\n\n{start}dipddpm run hybrid --preset quick\n\n?  help     q  quit"


class PaneArea(Vertical):
    """The tabs, the head and the panes; each pane is created when it is first shown."""

    def __init__(self, shown: PaneName) -> None:
        super().__init__(id="right")
        self._shown = shown
        self.tabs = Tabs()
        self.head = RunHead()

    def compose(self) -> ComposeResult:
        """Add the tabs, the head and the hint."""
        yield self.tabs
        yield self.head
        yield Static(id="empty", markup=False)

    def switch_to(self, name: PaneName, *, visible: bool) -> None:
        """Switch to this pane; if it is not `visible`, highlight only its tab."""
        self._shown = name
        for pane in self.query(Pane):
            pane.display = visible and pane.id == f"pane-{name}"
        self.tabs.shown = name

    def show_hint(self, hint: str) -> None:
        """Show a hint instead of the run's head; an empty hint shows the head again."""
        empty = self.query_one("#empty", Static)
        empty.display = bool(hint)
        self.head.display = not hint
        if hint:
            empty.update(hint)

    def show(self, view: View) -> bool:
        """Show a view in the open pane; return False if the pane is not on the screen yet."""
        pane = self._open_pane()
        if pane is None:
            return False
        pane.show(view)
        return True

    def add_output(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Pass lines printed by the run's process to the open pane."""
        pane = self._open_pane()
        if pane is not None:
            pane.add(lines, restarted=restarted)

    def clear(self) -> None:
        """Clear every pane, before another run is shown."""
        for pane in self.query(Pane):
            pane.clear()

    def _open_pane(self) -> Pane | None:
        """Return the open pane, created at the first call; None until it is on the screen."""
        for pane in self.query(f"#pane-{self._shown}").results(Pane):
            return pane if pane.is_mounted else None
        # Loaded here, so that the list is shown without waiting for it.
        module = import_module(f"dipddpm.tui.console.panes.{self._shown}")
        pane_class: type[Pane] = getattr(module, f"{self._shown.capitalize()}Pane")
        self.mount(pane_class(id=f"pane-{self._shown}"))
        return None
