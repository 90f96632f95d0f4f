"""A mirror: a run written to TensorBoard's event files while it goes on, in a folder of the run's own.

The folder asks for the mirror, so a resumed run goes on with it. A worker that begins writes it anew from the logical
history, so that it shows every step once; a TensorBoard that looks on is told to forget what it had.
"""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.events import Event
from dipddpm.core.export.formats import FORMATS, refuse
from dipddpm.core.export.snapshot import Record
from dipddpm.core.runs import Run

if TYPE_CHECKING:
    from dipddpm.core.export.tensorboard import EventFiles

MIRRORS = ("tensorboard",)


def refuse_mirror(name: str) -> None:
    """Raise UserError for what can't be written along, or whose package isn't installed."""
    if name not in MIRRORS:
        remedy = "Export the run when it is done." if name in FORMATS else suggest(name, MIRRORS)
        raise UserError(f"{name!r} can't be written while a run goes on.", remedy)
    refuse([name])


def request_mirror(run: Run, name: str) -> Path:
    """Make the folder that asks for a mirror. Raises UserError where it can't be made."""
    refuse_mirror(name)
    run.refuse_change()
    mirror_folder = run.folder / name
    try:
        mirror_folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{mirror_folder} can't be made: {error.strerror}.", "Check the runs folder.") from None
    return mirror_folder


class TensorboardMirror:
    """Writes a worker's events to TensorBoard's files as well. Never raises: a failing mirror doesn't cost the run."""

    def __init__(self, folder: Path) -> None:
        self._run = Run(folder)
        self._folder = folder / MIRRORS[0]
        self._files: EventFiles | None = None
        self._enabled = self._folder.is_dir() and not self._folder.is_symlink()

    def add(self, event: Event) -> str:
        """Take in an event that has just been logged; what went wrong, in a sentence, after which the mirror is off."""
        try:
            if self._enabled and self._files is not None:
                self._files.add(event)
            elif self._enabled:
                self._begin()  # the history, and with it this event
        except Exception as error:  # somebody else's library, and a disk
            self._enabled = False
            return f"The run goes on without its TensorBoard mirror: {error or type(error).__name__}"
        return ""

    def _begin(self) -> None:
        from dipddpm.core.export.tensorboard import PATTERN, EventFiles

        earlier = list(self._folder.glob(PATTERN))
        self._files = EventFiles(self._run, self._folder)
        atexit.register(self._files.close)
        self._files.begin(Record.of(self._run))
        for path in earlier:
            # Emptied and not deleted: a TensorBoard that follows one would not find its way to the next.
            os.truncate(path, 0)
