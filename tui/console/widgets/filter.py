"""The line above the run list in which a filter is written; the list narrows meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import events
from textual.widgets import Input

if TYPE_CHECKING:
    from dipddpm.tui.console.screens.main import MainScreen


class Filter(Input):
    """There while it is written in. Enter keeps the filter, Esc shows all runs again."""

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, placeholder="words  kind:hybrid  loss<0.04  tag:x")
        self.cursor_blink = False

    @property
    def _main_screen(self) -> MainScreen:
        return cast("MainScreen", self.screen)

    def on_mount(self) -> None:
        """Take the keys."""
        self.focus()

    def on_input_changed(self) -> None:
        """Narrow the list."""
        self._main_screen.filter_by(self.value)

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._leave()

    def on_key(self, event: events.Key) -> None:
        """Esc takes the filter back, down goes on to the list."""
        if event.key in {"escape", "down"}:
            event.stop()
            event.prevent_default()
            if event.key == "escape":
                self._main_screen.filter_by("")
            self._leave()

    def _leave(self) -> None:
        self._main_screen.table.focus()
        self.remove()
