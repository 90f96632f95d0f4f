"""`?`: what the keys do, made from the bindings of the screen from which it was asked."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Label, Static

from dipddpm.tui.console.screens.dialogs import Dialog

SIGNS = {
    "● ◐ ○": "running; alive but not advancing; waiting for a slot",
    "✓ ■ ✗ ! ?": "done; stopped; failed; crashed; its config can't be read",
}


class Help(Dialog[None]):
    """The keys in groups: every binding that has one, those with the same words on one line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,question_mark", "dismiss(None)", "leave")]

    def __init__(self, explained: Screen[object]) -> None:
        super().__init__("Keys (^ is ctrl)")
        self._explained = explained

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(classes="dialog help"):
            yield Label(self._title, classes="title", markup=False)
            yield Static(self._page())

    def _page(self) -> Table:
        page = Table.grid(padding=(0, 2))
        page.add_column(style="bold", no_wrap=True)
        for title, lines in self._sections().items():
            page.add_row(title)
            for words, keys in lines.items():
                page.add_row(Text("  " + " ".join(keys)), Text(words))
            page.add_row()
        return page

    def _sections(self) -> dict[str, dict[str, list[str]]]:
        """The keys by what they do, by group."""
        sections: dict[str, dict[str, list[str]]] = {}
        nodes: list[DOMNode] = [*self._explained.query("*"), self._explained, self._explained.app]
        for bindings in dict.fromkeys(tuple(node.BINDINGS) for node in nodes):
            for binding in bindings:
                if isinstance(binding, Binding) and binding.group:
                    lines = sections.setdefault(binding.group.description, {})
                    keys = [binding.key] if binding.key_display else binding.key.split(",")
                    names = [self.app.get_key_display(binding.with_key(key, binding.key_display)) for key in keys]
                    lines.setdefault(binding.tooltip or binding.description, []).extend(names)
        if "Runs" in sections:
            sections["Signs"] = {words: [signs] for signs, words in SIGNS.items()}
        return sections
