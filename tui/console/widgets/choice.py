"""A choice among a few words on one line: left and right change it, a letter jumps to words that start with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

TURN = "choose the previous or the next value"


class Choice(Widget, can_focus=True):
    """A choice on one line; a drop-down would cover half of a small terminal."""

    DEFAULT_CSS = "Choice { height: 1; }"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--chosen", "choice--other", "choice--arrow"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "turn(-1)", "previous", False, "←", group=Binding.Group("New run"), tooltip=TURN),
        Binding("right,l,space", "turn(1)", "next", False, "→ space", group=Binding.Group("New run"), tooltip=TURN),
    ]

    value: reactive[str] = reactive("")

    @dataclass
    class Changed(Message):
        """Posted when another word has been chosen."""

        choice: Choice
        value: str

    def __init__(
        self,
        words: Sequence[str],
        value: str,
        *,
        id: str | None = None,  # noqa: A002
        titles: Mapping[str, str] | None = None,
    ) -> None:
        """Choose among `words`, some of which are shown as other `titles`."""
        super().__init__(id=id)
        self.words = list(words)
        self._titles = dict(titles or {})
        self.set_reactive(Choice.value, value if value in self.words else self.words[0])

    def _title(self, word: str) -> str:
        return self._titles.get(word, word)

    def action_turn(self, by: int) -> None:
        """Choose the word `by` positions further, cyclically."""
        self._choose(self._neighbour(by))

    def _neighbour(self, by: int) -> str:
        return self.words[(self.words.index(self.value) + by) % len(self.words)]

    def on_key(self, event: events.Key) -> None:
        """Choose the next word that starts with the typed letter."""
        index = self.words.index(self.value)
        following = self.words[index + 1 :] + self.words[: index + 1]
        if event.character and event.character.isalpha() and event.character not in "hl":
            match = next((word for word in following if self._title(word).startswith(event.character)), None)
            if match is not None:
                event.stop()
                self._choose(match)

    def on_click(self, event: events.Click) -> None:
        """Choose the clicked word."""
        if (word := event.style.meta.get("word")) is not None:
            self._choose(word)

    def _choose(self, word: str) -> None:
        if word != self.value:
            self.value = word
            self.post_message(self.Changed(self, word))

    def render(self) -> Text:
        """Return all words if they fit, else the chosen word between arrows."""
        chosen = self.get_component_rich_style("choice--chosen")
        other = self.get_component_rich_style("choice--other")
        arrow = self.get_component_rich_style("choice--arrow")
        line = Text(no_wrap=True, end="", overflow="ellipsis")
        if sum(len(self._title(word)) + 2 for word in self.words) <= self.size.width:
            for word in self.words:
                click = Style(meta={"word": word})
                line.append(f" {self._title(word)} ", (chosen if word == self.value else other) + click)
            return line
        position = self.words.index(self.value) + 1
        line.append("◂", arrow + Style(meta={"word": self._neighbour(-1)}))
        line.append(f" {self._title(self.value)} ", chosen)
        line.append("▸", arrow + Style(meta={"word": self._neighbour(1)}))
        line.append(f" {position} of {len(self.words)}", other)
        return line
