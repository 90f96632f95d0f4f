"""The footer: the keys that work here, as many as fit; each can be clicked."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding
from textual.screen import Screen
from textual.widget import Widget


class KeyLine(Widget):
    """One line, drawn anew only when its text changes."""

    DEFAULT_CSS = "KeyLine { height: 1; dock: bottom; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--what"}

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[tuple[str, str, str]] = []

    def on_mount(self) -> None:
        """Follow the screen's bindings."""
        self.screen.bindings_updated_signal.subscribe(self, self._update_keys)
        self.call_after_refresh(self._update_keys, self.screen)

    def _update_keys(self, screen: Screen[object]) -> None:
        shown: dict[str, tuple[str, str, str]] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.description:
                shown.setdefault(binding.action, (self._key_name(binding), binding.description, binding.key))
        entries = list(shown.values())
        if entries != self._shown:
            self._shown = entries
            self.refresh()

    def _key_name(self, binding: Binding) -> str:
        return binding.key_display or self.app.get_key_display(binding)

    def render(self) -> Text:
        """Keys and words; what doesn't fit is left out, the last two (quit, help) stay."""
        key_style = self.get_component_rich_style("key-line--key")
        word_style = self.get_component_rich_style("key-line--what")
        line = Text(no_wrap=True, end="")
        room = self.size.width - 1
        last_keys = self._shown[-2:]
        room -= sum(_width(key, word) for key, word, _ in last_keys)
        for name, word, key in [*self._keys_that_fit(self._shown[:-2], room), *last_keys]:
            click = Style(meta={"key": key})
            line.append(f" {name}", key_style + click)
            line.append(f" {word} ", word_style + click)
        return line

    def on_click(self, event: events.Click) -> None:
        """Do what the key does."""
        if (key := event.style.meta.get("key")) is not None:
            self.app.simulate_key(key)

    @staticmethod
    def _keys_that_fit(entries: list[tuple[str, str, str]], room: int) -> list[tuple[str, str, str]]:
        fitting = []
        for entry in entries:
            room -= _width(entry[0], entry[1])
            if room < 0:
                break
            fitting.append(entry)
        return fitting


def _width(key: str, word: str) -> int:
    return cell_len(key) + cell_len(word) + 3
