"""The Textual application: it connects session, reader, screens and terminal."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen

from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import trash
from dipddpm.tui.console import notify, preferences, terminal
from dipddpm.tui.console.background import is_working
from dipddpm.tui.console.compositor import screen_text
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.reader import Reader, RowsChanged
from dipddpm.tui.console.screens.dialogs import ChoiceDialog, Help
from dipddpm.tui.console.screens.keys import APP_KEYS
from dipddpm.tui.console.screens.main import MainScreen
from dipddpm.tui.console.session import Session
from dipddpm.tui.console.themes import SUMMARIES, THEMES
from dipddpm.tui.console.widgets.pictures import detect_graphics

FIRST_FRAME_SECONDS = 60.0
"""Longest time that `--once` waits for the files shown in the first frame."""
SEVERITIES: dict[str, SeverityLevel] = {"failed": "error", "crashed": "error", "stalled": "warning"}
TEXTUAL_ACTIONS = {"app.focus_next", "app.focus_previous", "screen.copy_text"}
"""Textual's actions on every screen, which the palette leaves out."""


class DipddpmApp(App[None]):
    """The console. It only follows files and starts processes, so quitting it affects no run."""

    TITLE = "dipddpm"
    CSS_PATH = "console.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(APP_KEYS)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._reader = Reader(session.options.root, session.options.fps)
        for theme in THEMES.values():
            self.register_theme(theme)
        # Without notifying Textual: that would compute every style twice at the start.
        self.set_reactive(DipddpmApp.theme, session.preferences.theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self.animation_level = "none"
        self._state_watcher = notify.StateWatcher()
        self._guard: terminal.ExitGuard | None = None

    def run_to_exit_code(self) -> int:
        """Run until quit and return the exit code."""
        detect_graphics()
        with terminal.shield_screen():
            asyncio.run(self._run())
        if self._guard is not None:
            self._guard.cancel_exit_timer()
        try:
            preferences.save(self.session.preferences)
        except UserError as error:
            print(printable(str(error)), file=sys.stderr)
        trash.empty_trash(self.session.runs, self.session.deleted)
        return (self._guard.status if self._guard else 0) or self.return_code or 0

    def print_first_frame(self) -> int:
        """Print the screen once all its files are read, in the terminal's size or COLUMNS and LINES; return 0."""
        text = asyncio.run(self._first_frame(shutil.get_terminal_size((120, 36))))
        print(text)
        return 0

    async def _first_frame(self, size: tuple[int, int]) -> str:
        async with self.run_test(size=size) as pilot:
            deadline = time.monotonic() + FIRST_FRAME_SECONDS
            while (not self.first_frame_ready or is_working()) and time.monotonic() < deadline:
                await pilot.pause(0.02)
            await pilot.pause()
            return screen_text(self.screen)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._guard = terminal.ExitGuard(lambda: loop.call_soon_threadsafe(self.exit))
        self._guard.install()
        await self.run_async(mouse=self.session.options.mouse)

    def exit(self, *results: Any, **options: Any) -> None:
        """Stop the reader and exit, by force if that takes too long."""
        self.session.is_closing = True
        self.on_unmount()  # stops the reader now, since its thread would slow the exit down
        if self._guard is not None:
            self._guard.start_exit_timer()
        super().exit(*results, **options)
        if self._driver is not None and not self.is_headless:
            # If the screen has grown since the start, tmux leaves its lines to the shell unless they are empty.
            self._driver.write("\x1b[2J\x1b[H")

    def get_default_screen(self) -> Screen[object]:
        """Return the main screen. The reader starts first, so that it reads while the screen is built."""
        self._reader.start()
        return MainScreen(self.session, self._reader)  # type: ignore[return-value]

    def on_unmount(self) -> None:
        """Stop the reader, without waiting for it."""
        self._reader.stop()

    @on(RowsChanged)
    def report_changes(self) -> None:
        """Notify the user of runs that have ended, failed or stalled."""
        changes = self._state_watcher.changes(self.session.rows)
        for change in notify.merge_by_group(changes):
            self.notify(printable(change.text), severity=SEVERITIES.get(change.state, "information"), markup=False)
            if self.session.preferences.bell and self._driver is not None and not self.is_headless:
                self._driver.write(notify.escape_codes(change))
        for change in changes if self.session.preferences.hook else ():
            notify.call_hook(self.session.preferences.hook, change)

    @property
    def first_frame_ready(self) -> bool:
        """True once all files shown in the first frame have been read."""
        return any(screen.first_frame_ready for screen in self.screen_stack if isinstance(screen, MainScreen))

    # Keys

    def action_help(self) -> None:
        """Show the help page of the current screen."""
        self.push_screen(Help(self.screen))

    def action_theme(self) -> None:
        """Choose a theme."""
        choices = [(name, f"{name:<8} {words}") for name, words in SUMMARIES.items()]
        self.push_screen(ChoiceDialog("Theme", choices, self.theme), self.use_theme)

    def use_theme(self, name: str | None) -> None:
        """Use this theme and store it in the preferences."""
        if name in THEMES:
            self.theme = self.session.preferences.theme = name  # type: ignore[assignment]
            for screen in self.screen_stack:
                if isinstance(screen, MainScreen):
                    screen.show_rows()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return the palette's commands: the bindings that apply now, including hidden ones, and the themes."""
        seen = TEXTUAL_ACTIONS.copy()
        for node, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.description and isinstance(node, Screen | App | Pane) and binding.action not in seen:
                seen.add(binding.action)
                help_text = f"key {self.get_key_display(binding)}"
                yield SystemCommand(binding.description, help_text, partial(self.simulate_key, binding.key))
        for name, summary in SUMMARIES.items():
            yield SystemCommand(f"theme {name}", summary, partial(self.use_theme, name))
