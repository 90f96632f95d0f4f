"""The application: what lasts as long as the console does. Wiring only."""

from __future__ import annotations

import asyncio
import os
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

FIRST_FRAME_SECONDS = 10.0
"""`--once` waits this long at most for the files that the first frame shows."""
SEVERITIES: dict[str, SeverityLevel] = {"failed": "error", "crashed": "error", "stalled": "warning"}
TEXTUAL_ACTIONS = {"app.focus_next", "app.focus_previous", "screen.copy_text"}
"""Actions that Textual gives every screen: the palette leaves them out."""


class DipddpmApp(App[None]):
    """Follows files and starts processes. Nothing is trained in here, so that leaving it costs nothing."""

    TITLE = "dipddpm"
    CSS_PATH = "console.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(APP_KEYS)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._reader = Reader(session.options.root, session.options.fps)
        for theme in THEMES.values():
            self.register_theme(theme)
        # Quietly: a change that is announced would have every style computed twice at the start.
        self.set_reactive(DipddpmApp.theme, session.preferences.theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self.animation_level = "none"
        self._state_watcher = notify.StateWatcher()
        self._guard: terminal.ExitGuard | None = None

    def run_to_exit_code(self) -> int:
        """Run until quit; the exit code."""
        detect_graphics()
        asyncio.run(self._run())
        if self._guard is not None:
            self._guard.cancel_exit_timer()
        preferences.save(self.session.preferences)
        trash.empty_trash(self.session.runs, self.session.deleted)
        return (self._guard.status if self._guard else 0) or self.return_code or 0

    def print_first_frame(self) -> int:
        """Print what the console shows once everything is read; the size is the terminal's, or COLUMNS and LINES."""
        text = asyncio.run(self._first_frame(shutil.get_terminal_size((120, 36))))
        try:
            print(text)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
        """Come to an end."""
        self.session.is_closing = True
        self.on_unmount()  # at once: its thread would hold up what is left to do
        if self._guard is not None:
            self._guard.start_exit_timer()
        super().exit(*results, **options)
        if self._driver is not None and not self.is_headless:
            # tmux gives lines of a screen that has grown since the start to the shell, unless they are empty.
            self._driver.write("\x1b[2J\x1b[H")

    def get_default_screen(self) -> Screen[object]:
        """The main screen. Its rows are read while it is being made."""
        self._reader.start()
        return MainScreen(self.session, self._reader)  # type: ignore[return-value]

    def on_unmount(self) -> None:
        """Let the reader end by itself."""
        self._reader.stop()

    @on(RowsChanged)
    def report_changes(self) -> None:
        """Give notice of runs that ended, failed or stalled."""
        changes = self._state_watcher.changes(self.session.rows)
        for change in notify.merge_by_group(changes):
            self.notify(printable(change.text), severity=SEVERITIES.get(change.state, "information"), markup=False)
            if self.session.preferences.bell and self._driver is not None and not self.is_headless:
                self._driver.write(notify.escape_codes(change))
        for change in changes if self.session.preferences.hook else ():
            notify.call_hook(self.session.preferences.hook, change)

    @property
    def first_frame_ready(self) -> bool:
        """Whether all that the first frame shows has been read."""
        return any(screen.first_frame_ready for screen in self.screen_stack if isinstance(screen, MainScreen))

    # Keys

    def action_help(self) -> None:
        """Explain the keys that work here."""
        self.push_screen(Help(self.screen))

    def action_theme(self) -> None:
        """Choose how the console looks."""
        choices = [(name, f"{name:<8} {words}") for name, words in SUMMARIES.items()]
        self.push_screen(ChoiceDialog("Theme", choices, self.theme), self.use_theme)

    def use_theme(self, name: str | None) -> None:
        """Wear this theme and remember it."""
        if name in THEMES:
            self.theme = self.session.preferences.theme = name  # type: ignore[assignment]
            for screen in self.screen_stack:
                if isinstance(screen, MainScreen):
                    screen.show_rows()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette finds by its words: the bindings that apply now, the hidden ones too, and the themes."""
        seen = TEXTUAL_ACTIONS.copy()
        for node, binding, enabled, _ in screen.active_bindings.values():
            if enabled and binding.description and isinstance(node, Screen | App | Pane) and binding.action not in seen:
                seen.add(binding.action)
                help_text = f"key {self.get_key_display(binding)}"
                yield SystemCommand(binding.description, help_text, partial(self.simulate_key, binding.key))
        for name, summary in SUMMARIES.items():
            yield SystemCommand(f"theme {name}", summary, partial(self.use_theme, name))
