"""Lines of clickable words, each of which does the same as a key: the footer, and the tabs of the panes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from dipddpm.tui.console.preferences import PANES


class KeyWords(Widget):
    """A line of words; a click on a word presses its key."""

    DEFAULT_CSS = "KeyWords { height: 1; }"

    def append_key(self, line: Text, words: str, component: str, key: str) -> None:
        """Add words in the style of this component class; a click on them presses `key`."""
        line.append(words, self.get_component_rich_style(component) + Style(meta={"key": key}))

    def on_click(self, event: events.Click) -> None:
        """Press the key of the clicked word."""
        if (key := event.style.meta.get("key")) is not None:
            self.app.simulate_key(key)


class Tabs(KeyWords):
    """The panes' names and keys, `1 Live  2 Images ...`, with the shown pane highlighted."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--tab", "tabs--shown"}

    shown: reactive[str] = reactive("live")
    marked: reactive[int] = reactive(0)
    """The number of marked runs."""

    def render(self) -> Text:
        """Return the line of names."""
        line = Text(no_wrap=True, end="")
        for number, pane in enumerate(PANES, start=1):
            count = f" ({self.marked})" if pane == "compare" and self.marked else ""
            component = "tabs--shown" if pane == self.shown else "tabs--tab"
            self.append_key(line, f" {number} {pane.capitalize()}{count} ", component, str(number))
        return line


class KeyLine(KeyWords):
    """The footer: as many of the keys that work now as fit. It is repainted only when its text changes."""

    DEFAULT_CSS = "KeyLine { dock: bottom; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--what"}

    _shown: Sequence[tuple[str, str, str]] = ()

    def on_mount(self) -> None:
        """Update the line whenever the screen's bindings change."""
        self.screen.bindings_updated_signal.subscribe(self, self._update_keys)
        self.call_after_refresh(self._update_keys, self.screen)

    def _update_keys(self, screen: Screen[object]) -> None:
        shown: dict[str, tuple[str, str, str]] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.description:
                name = self.app.get_key_display(binding)
                shown.setdefault(binding.action, (name, binding.description, binding.key))
        if self._shown != (entries := list(shown.values())):
            self._shown = entries
            self.refresh()

    def render(self) -> Text:
        """Return as many keys with their words as fit; the last two (quit, help) are always shown."""
        line = Text(no_wrap=True, end="")
        last_keys = self._shown[-2:]
        room = self.size.width - 1 - sum(map(_width, last_keys))
        fitting = []
        for entry in self._shown[:-2]:
            room -= _width(entry)
            if room < 0:
                break
            fitting.append(entry)
        for name, words, key in [*fitting, *last_keys]:
            self.append_key(line, f" {name}", "key-line--key", key)
            self.append_key(line, f" {words} ", "key-line--what", key)
        return line


def _width(entry: tuple[str, str, str]) -> int:
    return cell_len(entry[0]) + cell_len(entry[1]) + 3
