"""The right half of the main screen: the tabs, the head of the run under the cursor, and the pane that is shown."""

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
    """What to do where the list shows no run."""
    if session.rows:
        return "No run matches the filter.\n\n/  change it     esc  show all runs"
    start = "" if session.options.readonly else "n  start the first one\n\nor, in a shell:\n"
    return f"No runs in {session.options.root} yet.\n\n{start}dipddpm run hybrid --preset quick\n\n?  help     q  quit"


class PaneArea(Vertical):
    """Makes a pane when it is first shown, and keeps it."""

    def __init__(self, shown: PaneName) -> None:
        super().__init__(id="right")
        self._shown = shown
        self.tabs = Tabs()
        self.head = RunHead()

    def compose(self) -> ComposeResult:
        """The pieces; the panes come later."""
        yield self.tabs
        yield self.head
        yield Static(id="empty", markup=False)

    def switch_to(self, name: PaneName, *, visible: bool) -> None:
        """Show this pane; only its tab where there is nothing to show in it."""
        self._shown = name
        for pane in self.query(Pane):
            pane.display = visible and pane.id == f"pane-{name}"
        self.tabs.shown = name

    def show_hint(self, hint: str) -> None:
        """Show words where there is no run; the empty text brings the run's head back."""
        empty = self.query_one("#empty", Static)
        empty.display = bool(hint)
        self.head.display = not hint
        if hint:
            empty.update(hint)

    def show(self, view: View) -> bool:
        """Present this in the pane that is shown; whether that pane stands on the screen already."""
        pane = self._open_pane()
        if pane is None:
            return False
        pane.show(view)
        return True

    def add_output(self, lines: Sequence[str], *, restarted: bool) -> None:
        """Hand what the run's process printed to the pane that is shown."""
        pane = self._open_pane()
        if pane is not None:
            pane.add(lines, restarted=restarted)

    def clear(self) -> None:
        """Have every pane forget what it showed: another run comes."""
        for pane in self.query(Pane):
            pane.clear()

    def _open_pane(self) -> Pane | None:
        """The pane that is shown, made when it is first asked for; None until it stands on the screen."""
        for pane in self.query(f"#pane-{self._shown}").results(Pane):
            return pane if pane.is_mounted else None
        # Loaded when it is first shown, so that the list needn't wait for it.
        module = import_module(f"dipddpm.tui.console.panes.{self._shown}")
        pane_class: type[Pane] = getattr(module, f"{self._shown.capitalize()}Pane")
        self.mount(pane_class(id=f"pane-{self._shown}"))
        return None
