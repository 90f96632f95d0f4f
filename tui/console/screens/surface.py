"""The interface between commands and a Textual screen: questions, notices and background work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from textual.screen import Screen

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.screens.dialogs import (
    ChoiceDialog,
    ConfirmDialog,
    LaunchRequest,
    PromptDialog,
    PromptField,
    ResultDialog,
)
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.draft import Draft

Result = TypeVar("Result")


class Surface:
    """The functions of a screen that `RunCommands` uses."""

    def __init__(self, screen: Screen[None], session: Session, changed: Callable[[], object]) -> None:
        self._screen = screen
        self._session = session
        self.changed = changed
        """Called after a run has changed, to read the runs again."""

    def _open(self, screen: Screen[Result], then: Callable[[Result], object]) -> None:
        """Show this screen and call `then` with its answer, unless the screen was left."""

        def answered(answer: Result | None) -> None:
            if answer is not None:
                then(answer)

        self._screen.app.push_screen(screen, answered)

    def ask(self, question: str, detail: str, yes: Callable[[], object]) -> None:
        """Ask for a confirmation; call `yes` if it is given."""
        self._open(ConfirmDialog(question, detail), lambda _: yes())

    def choose(
        self, title: str, choices: Sequence[tuple[str, str]], then: Callable[[str], object], chosen: str = ""
    ) -> None:
        """Ask for one of several choices; the cursor starts at `chosen`."""
        self._open(ChoiceDialog(title, choices, chosen), then)

    def prompt(
        self, title: str, fields: Sequence[PromptField], detail: str, then: Callable[[dict[str, str]], object]
    ) -> None:
        """Ask for a few lines of text."""
        self._open(PromptDialog(title, fields, detail), then)

    def show_result(self, title: str, text: str, line: str) -> None:
        """Show the result of a command, and a line to copy."""
        self._screen.app.push_screen(ResultDialog(title, text, line))

    def open_form(self, draft: Draft, title: str, then: Callable[[LaunchRequest], object]) -> None:
        """Open the form for a new run. Its module takes long to load, so it is loaded here."""
        from dipddpm.tui.console.screens.form import Form

        self._open(Form(draft, title, self._session), then)

    def background(self, work: Callable[[], Result], then: Callable[[Result], object]) -> None:
        """Do slow work in the background; then call `then` with its result, or show its UserError."""
        run_in_background(self._screen.app, work, then, self.show_error)

    def notify(self, text: str) -> None:
        """Show a notice for a while."""
        self._screen.app.notify(printable(text), markup=False)

    def drop_notices(self) -> None:
        """Remove the notices, one of which is no longer true."""
        self._screen.app.clear_notifications()

    def show_error(self, error: UserError) -> None:
        """Show an error with its remedy."""
        self._screen.app.notify(printable(str(error)), severity="error", timeout=10, markup=False)
