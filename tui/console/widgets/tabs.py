"""The panes' names in a line, with the one that is shown standing out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.widget import Widget


class Tabs(Widget):
    """`1 Live  2 Images ...`; a click does what the key does."""

    DEFAULT_CSS = "Tabs { height: 1; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--tab", "tabs--shown"}

    shown: reactive[str] = reactive("live")
    marked: reactive[int] = reactive(0)
    """How many runs Compare would compare."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self._names = names

    def render(self) -> Text:
        """The names."""
        line = Text(no_wrap=True, end="")
        tab = self.get_component_rich_style("tabs--tab")
        shown = self.get_component_rich_style("tabs--shown")
        for number, pane in enumerate(self._names, start=1):
            count = f" ({self.marked})" if pane == "compare" and self.marked else ""
            style = (shown if pane == self.shown else tab) + Style(meta={"key": str(number)})
            line.append(f" {number} {pane.capitalize()}{count} ", style)
        return line

    def on_click(self, event: events.Click) -> None:
        """Do what the key does."""
        if (key := event.style.meta.get("key")) is not None:
            self.app.simulate_key(key)
