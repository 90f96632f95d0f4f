"""Mirror of a live run in TensorBoard's event files, in a subfolder of the run.

The existence of the folder requests the mirror, so a resumed run continues it. Each worker rewrites the mirror from
the logical history, so that every step appears once, and tells an open TensorBoard to drop the data it has read.
"""

from __future__ import annotations

import atexit
import contextlib
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
    """Raise UserError for a format that can't mirror a live run, or whose package isn't installed."""
    if name not in MIRRORS:
        remedy = "Export the run once it has ended." if name in FORMATS else suggest(name, MIRRORS)
        raise UserError(f"--mirror can't write {name!r} while a run works.", remedy)
    refuse([name])


def request_mirror(run: Run, name: str) -> Path:
    """Create the folder that requests a mirror, and return it. Raises UserError if that fails."""
    refuse_mirror(name)
    run.refuse_change()
    mirror_folder = run.folder / name
    try:
        mirror_folder.mkdir(exist_ok=True)
    except OSError as error:
        problem = f"{mirror_folder} can't be created: {error.strerror}."
        raise UserError(problem, "Check that the runs folder can be written and has free space.") from None
    return mirror_folder


class TensorboardMirror:
    """Writer of a worker's events to TensorBoard's files. It never raises, so that its failure doesn't end the run."""

    def __init__(self, folder: Path) -> None:
        self._run = Run(folder)
        self._folder = folder / MIRRORS[0]
        self._files: EventFiles | None = None
        self._enabled = self._folder.is_dir() and not self._folder.is_symlink()

    def add(self, event: Event) -> str:
        """Write an event that has just been logged; on failure switch the mirror off and return a message, else ""."""
        try:
            if self._enabled and self._files is not None:
                self._files.add(event)
                self._files.flush()
            elif self._enabled:
                self._begin()  # writes the whole history, this event included
        except Exception as error:  # TensorBoard's library may raise anything
            self._enabled = False
            self._close()
            return f"The run continues without its TensorBoard mirror: {error or type(error).__name__}"
        return ""

    def _begin(self) -> None:
        from dipddpm.core.export.tensorboard import PATTERN, EventFiles

        earlier = list(self._folder.glob(PATTERN))
        self._files = EventFiles(self._run, self._folder)
        atexit.register(self._close)
        self._files.begin(Record.of(self._run))
        self._files.flush()
        for path in earlier:
            # Truncate, don't delete: an open TensorBoard moves on to the next file only if the current one exists.
            os.truncate(path, 0)

    def _close(self) -> None:
        if self._files is not None:
            with contextlib.suppress(OSError):
                self._files.close()
