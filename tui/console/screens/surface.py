"""A Textual screen as commands see it: it asks, shows, and works in the background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from textual.app import App
from textual.screen import Screen

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.model.questions import LaunchRequest, PromptField
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.draft import Draft

Result = TypeVar("Result")


class Surface:
    """What `RunCommands` needs, on a real screen. Dialogs are loaded when the first one is opened."""

    def __init__(self, screen: Screen[None], session: Session, changed: Callable[[], object]) -> None:
        self._screen = screen
        self._session = session
        self._changed = changed

    @property
    def _app(self) -> App[None]:
        return self._screen.app

    def ask(self, question: str, detail: str, yes: Callable[[], object]) -> None:
        """Ask whether to go on; call `yes` after a yes."""
        from dipddpm.tui.console.screens.dialogs import ConfirmDialog

        def answered(sure: bool | None) -> None:
            if sure:
                yes()

        self._app.push_screen(ConfirmDialog(question, detail), answered)

    def choose(
        self, title: str, choices: Sequence[tuple[str, str]], then: Callable[[str], object], chosen: str = ""
    ) -> None:
        """Have one of several chosen; the cursor begins at `chosen`."""
        from dipddpm.tui.console.screens.dialogs import ChoiceDialog

        self._app.push_screen(ChoiceDialog(title, choices, chosen), partial(_pass_on, then))

    def prompt(
        self, title: str, fields: Sequence[PromptField], detail: str, then: Callable[[dict[str, str]], object]
    ) -> None:
        """Have a few lines of text written."""
        from dipddpm.tui.console.screens.dialogs import PromptDialog

        self._app.push_screen(PromptDialog(title, fields, detail), partial(_pass_on, then))

    def show_result(self, title: str, text: str, line: str) -> None:
        """Show what was done, and a line to copy."""
        from dipddpm.tui.console.screens.dialogs import ResultDialog

        self._app.push_screen(ResultDialog(title, text, line))

    def open_form(self, draft: Draft, title: str, then: Callable[[LaunchRequest], object]) -> None:
        """Have a new run described."""
        from dipddpm.tui.console.screens.form import Form

        shown = None if self._session.uses_default_root else self._session.options.root
        self._app.push_screen(Form(draft, title, root=shown, estimate=self._session.estimate), partial(_pass_on, then))

    def background(self, work: Callable[[], Result], then: Callable[[Result], object]) -> None:
        """Do slow work beside the screen; what it returns goes to `then`, and its UserError is shown."""
        run_in_background(self._app, work, then, self.show_error)

    def notify(self, text: str) -> None:
        """Show a line for a while."""
        self._app.notify(printable(text), markup=False)

    def show_error(self, error: UserError) -> None:
        """Show what is wrong and what to do."""
        self._app.notify(printable(f"{error.problem} {error.remedy}"), severity="error", timeout=10, markup=False)

    def changed(self) -> None:
        """Read the runs again: one of them has just changed."""
        self._changed()


def _pass_on(then: Callable[[Result], object], answer: Result | None) -> None:
    """Pass an answer on; a dialog that was left has none."""
    if answer is not None:
        then(answer)
