"""The state that all screens share while the console is open. It depends on no screen and on no app."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, reference
from dipddpm.tui.console import preferences
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.shared.runlist import RunRow


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    root: Path
    cwd: Path = field(default_factory=Path.cwd)
    """The folder in which the console was started; stored, since it may be removed meanwhile."""
    run: str = ""
    readonly: bool = False
    fps: float = 4.0
    mouse: bool = True


@dataclass
class Session:
    """The shared state, created once before the app and passed to each screen."""

    options: Options
    runs: RunsFolder
    preferences: Preferences
    uses_default_root: bool = False
    """True if the runs folder is the one that commands use by default."""
    rows: Sequence[RunRow] = ()
    """The runs as last read."""
    deleted: list[str] = field(default_factory=list)
    """Ids of the runs deleted in this session, the last one last; undo brings them back."""
    awaited_run: str = ""
    """The id of a run just created: the cursor moves to it once the list holds it."""
    is_closing: bool = False
    """True once the console is closing, after which nothing must be drawn."""

    @classmethod
    def open(cls, options: Options) -> Session:
        """Create the session of a console with these options; reads the preferences."""
        default = False
        with contextlib.suppress(UserError):  # the default folder may be unusable
            default = options.root == local.runs_root(None)
        return cls(options, RunsFolder(options.root), preferences.load(), default)

    def run_of(self, row: RunRow) -> Run:
        """Return the run of a row, without reading the disk."""
        return Run((reference.FOLDER if row.reference else self.options.root) / row.id)
