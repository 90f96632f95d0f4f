"""The line above the run list in which a filter is written; the list narrows meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widgets import Input


class Filter(Input):
    """There while it is written in. Enter keeps the filter, Esc shows all runs again."""

    @dataclass
    class Edited(Message):
        """The filter is another one."""

        text: str

    class Closed(Message):
        """The filter has been written."""

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, placeholder="words  kind:hybrid  loss<0.04  tag:x")
        self.cursor_blink = False

    def on_mount(self) -> None:
        """Take the keys."""
        self.focus()

    def on_input_changed(self) -> None:
        """Narrow the list."""
        self.post_message(self.Edited(self.value))

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._leave()

    def on_key(self, event: events.Key) -> None:
        """Esc takes the filter back, down goes on to the list."""
        if event.key in {"escape", "down"}:
            event.stop()
            event.prevent_default()
            if event.key == "escape":
                self.post_message(self.Edited(""))
            self._leave()

    def _leave(self) -> None:
        self.post_message(self.Closed())
        self.remove()
