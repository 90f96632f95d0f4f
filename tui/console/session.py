"""What lasts as long as the console does, for every screen of it. Knows no screen, and no app."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, reference
from dipddpm.tui.console import preferences
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.shared.runlist import RunRow


@dataclass(frozen=True)
class Options:
    """How this console was asked to behave."""

    root: Path
    cwd: Path = field(default_factory=Path.cwd)
    """Where it was started: that folder may go while the console is open."""
    run: str = ""
    readonly: bool = False
    fps: float = 4.0
    mouse: bool = True


@dataclass
class Session:
    """Made once, before the app, and given to each screen that needs it."""

    options: Options
    runs: RunsFolder
    preferences: Preferences
    uses_default_root: bool = False
    """Whether the runs folder is the one that commands find without being given one."""
    rows: Sequence[RunRow] = ()
    """The runs as they were read last."""
    deleted: list[str] = field(default_factory=list)
    """Runs that `u` can bring back, the last one last."""
    awaited_run: str = ""
    """A run that was just made: the cursor goes there once the list holds it."""
    is_closing: bool = False
    """The screen is being taken down: nothing is drawn any more."""

    @classmethod
    def open(cls, options: Options) -> Session:
        """The session of a console with these options; reads the preferences."""
        default = options.root == local.runs_root(None)
        return cls(options, RunsFolder(options.root), preferences.load(), default)

    def run_of(self, row: RunRow) -> Run:
        """The run of a row, without a look at the disk."""
        return Run((reference.FOLDER if row.reference else self.options.root) / row.id)
