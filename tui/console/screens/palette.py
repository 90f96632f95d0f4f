"""ctrl+p: everything that can be done here, found by its words, with its key beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.types import IgnoreReturnCallbackType

from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.themes import SUMMARIES

TEXTUAL_ACTIONS = {"app.focus_next", "app.focus_previous", "screen.copy_text"}


class _Command(NamedTuple):
    words: str
    help: str
    call: IgnoreReturnCallbackType


class Commands(Provider):
    """The bindings that apply now, the hidden ones too, and the themes."""

    async def discover(self) -> Hits:
        """All of them, before anything is typed."""
        for command in self._commands():
            yield DiscoveryHit(command.words, command.call, help=command.help)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for command in self._commands():
            if (score := matcher.match(command.words)) > 0:
                yield Hit(score, matcher.highlight(command.words), command.call, help=command.help)

    def _commands(self) -> Iterator[_Command]:
        seen = set()
        for active in self.screen.active_bindings.values():
            binding = active.binding
            is_navigation = not isinstance(active.node, Screen | App | Pane) or binding.action in TEXTUAL_ACTIONS
            if is_navigation or not active.enabled or not binding.description or binding.action in seen:
                continue
            seen.add(binding.action)
            key = binding.key_display or self.app.get_key_display(binding)
            yield _Command(binding.description, f"key {key}", partial(self.app.simulate_key, binding.key))
        use_theme = getattr(self.app, "use_theme", None)
        if use_theme is not None:
            for name, summary in SUMMARIES.items():
                yield _Command(f"theme {name}", summary, partial(use_theme, name))
