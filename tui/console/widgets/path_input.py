"""An input for a path: Tab completes it as in a shell, and shows the candidates where there are several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.shared.paths import Completion, complete


class PathInput(Input):
    """One path, or with `several` paths as words of a shell. Folders are read in the background."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "tab",
            "complete",
            "complete",
            False,
            group=Binding.Group("New run"),
            tooltip="complete the path of a picture",
        ),
    ]

    several = False
    folders_only = False

    @dataclass
    class Candidates(Message):
        """Posted when a path has several continuations."""

        input: PathInput
        names: tuple[str, ...]

    def action_complete(self) -> None:
        """Complete the path as far as it is certain; show what may follow, or move on if nothing does."""
        typed = self.value
        if not typed.strip():
            self.screen.focus_next("Choice, Input")
            return

        def find() -> Completion:
            return complete(typed, several=self.several, folders_only=self.folders_only)

        def show(found: Completion) -> None:
            if not self.is_attached or self.value != typed or not self.has_focus:
                return
            if len(found.names) > 1 and found.text == typed:
                self.post_message(self.Candidates(self, found.names))
            elif found.text == typed:
                self.screen.focus_next("Choice, Input")
            else:
                self.value = printable(found.text)
                self.cursor_position = len(self.value)

        run_in_background(self.app, find, show, lambda _: None)
