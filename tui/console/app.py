"""The application: what lasts as long as the console does. Wiring only."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.screen import Screen

from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import local
from dipddpm.core.runs import RunsFolder, trash
from dipddpm.tui.console import notify, preferences, terminal
from dipddpm.tui.console.__main__ import Options
from dipddpm.tui.console.reader import Reader
from dipddpm.tui.console.screens.main import MainScreen
from dipddpm.tui.console.themes import SUMMARIES, THEMES
from dipddpm.tui.console.widgets.pictures import detect_graphics

if TYPE_CHECKING:
    from dipddpm.tui.shared.runlist import RunRow


def _commands() -> type[Provider]:
    from dipddpm.tui.console.screens.palette import Commands

    return Commands


class DipddpmApp(App[None]):
    """Follows files and starts processes. Nothing is trained in here, so that leaving it costs nothing."""

    TITLE = "dipddpm"
    CSS_PATH = "console.tcss"
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_commands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("T", "theme", "theme", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("ctrl+p", "command_palette", "all commands", show=False, priority=True),
        Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True),
    ]

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.preferences = preferences.load()
        self.runs = RunsFolder(options.root)
        self.uses_default_root = options.root == local.runs_root(None)
        """Whether the runs folder is the one that commands find without being told."""
        for theme in THEMES.values():
            self.register_theme(theme)
        # Quietly: telling of a change would have every style computed twice at the start.
        self.set_reactive(DipddpmApp.theme, self.preferences.theme)
        self.stylesheet.set_variables(self.get_css_variables())
        self.deleted: list[str] = []
        """Runs that `u` can bring back, the last one last."""
        self.awaited_run = ""
        """A run that was just made: the cursor goes there once the list knows it."""
        self.is_closing = False
        """The screen is being taken down: nothing is drawn any more."""
        self.animation_level = "none"
        self._state_watcher = notify.StateWatcher()
        self._guard: terminal.ExitGuard | None = None
        self._main: MainScreen | None = None

    def run_to_exit_code(self) -> int:
        """Run until quit; the exit code."""
        detect_graphics()
        asyncio.run(self._run())
        if self._guard is not None:
            self._guard.cancel_exit_timer()
        preferences.save(self.preferences)
        trash.empty_trash(self.runs, self.deleted)
        return (self._guard.status if self._guard else 0) or self.return_code or 0

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._guard = terminal.ExitGuard(lambda: self._exit_from_thread(loop))
        self._guard.install()
        await self.run_async(mouse=self.options.mouse)

    def exit(self, *results: Any, **options: Any) -> None:
        """Come to an end."""
        self.is_closing = True
        self.on_unmount()  # at once: its thread would hold up what is left to do
        if self._guard is not None:
            self._guard.start_exit_timer()
        super().exit(*results, **options)

    def _exit_from_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(self.exit)

    def get_default_screen(self) -> Screen[object]:
        """The main screen."""
        post = partial(self._post, asyncio.get_running_loop(), contextvars.copy_context())
        reader = Reader(self.options.root, post, self.options.fps)
        self._main = MainScreen(reader)
        reader.start()  # the first rows are there by the time that there is a screen to show them on
        return self._main  # type: ignore[return-value]

    def _post(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, message: Message) -> None:
        """Hand a message from the follower's thread to the main screen, which need not be on the screen yet."""
        if self._main is not None and not self.is_closing:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(self._main.post_message, message, context=context)

    def on_unmount(self) -> None:
        """Let the follower end by itself."""
        if self._main is not None:
            self._main.reader.stop()

    # What happens to runs

    def report_changes(self, rows: Sequence[RunRow], *, complete: bool) -> None:
        """Tell of what ended, failed or stalled; go to a run that was waited for."""
        if self.awaited_run and self._main is not None and self._main.go_to(self.awaited_run):
            self.awaited_run = ""
        if not complete:
            return
        changes = self._state_watcher.changes(rows)
        for change in notify.merge_by_group(changes):
            self.notify(printable(change.text), severity=_severity(change), markup=False)
            if self.preferences.bell and self._driver is not None and not self.is_headless:
                self._driver.write(notify.escape_codes(change))
        for change in changes if self.preferences.hook else ():
            notify.call_hook(self.preferences.hook, change)

    @property
    def first_frame_ready(self) -> bool:
        """Whether all that the first frame shows has been read."""
        return self._main is not None and self._main.first_frame_ready

    def estimate(self, config: AnyRun) -> float | None:
        """Seconds that a run like this takes, by earlier ones."""
        from dipddpm.tui.console.model.estimate import estimate

        return estimate(config, self._main.rows) if self._main else None

    def show_error(self, error: UserError) -> None:
        """Show what is wrong and what to do."""
        self.notify(printable(f"{error.problem} {error.remedy}"), severity="error", timeout=10, markup=False)

    def run_in_background(self, work: Callable[[], Callable[[], object] | None]) -> None:
        """Do slow work beside the screen; what it returns is then called, and its UserError is shown."""

        def job() -> None:
            callback: Callable[[], object] | None
            try:
                callback = work()
            except UserError as error:
                callback = partial(self.show_error, error)
            if callback is not None:
                with contextlib.suppress(RuntimeError):  # the console was quit meanwhile
                    self.call_from_thread(callback)

        threading.Thread(target=job, daemon=True).start()

    # Keys

    def action_help(self) -> None:
        """Explain the keys that work here."""
        from dipddpm.tui.console.screens.help import Help

        if not isinstance(self.screen, Help):
            self.push_screen(Help(self.screen))

    def action_theme(self) -> None:
        """Choose how the console looks."""
        from dipddpm.tui.console.screens.dialogs import ChoiceDialog

        choices = [(name, f"{name:<8} {words}") for name, words in SUMMARIES.items()]
        self.push_screen(ChoiceDialog("Theme", choices, self.theme), self.use_theme)

    def use_theme(self, name: str | None) -> None:
        """Wear this theme and remember it."""
        if name in THEMES:
            self.theme = self.preferences.theme = name  # type: ignore[assignment]
            if self._main is not None:
                self._main.show_rows()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[object]:  # type: ignore[override]
        """None of Textual's own: the palette has ours."""
        return ()


def _severity(change: notify.StateChange) -> SeverityLevel:
    if change.state in {"failed", "crashed"}:
        return "error"
    return "warning" if change.state == "stalled" else "information"
