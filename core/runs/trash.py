"""Disk use of runs: deleting and undeleting runs, and pruning checkpoints that only resuming needs. Loads no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.runs import log
from dipddpm.core.runs.folder import LOCK_SECONDS, Run, RunsFolder, RunStatus

TRASH = ".trash"
"""The folder for deleted runs, inside the runs folder, so that deleting and undeleting are one rename each."""


class DiskUse(NamedTuple):
    """The disk use of a run in bytes."""

    total: int
    checkpoints: int
    images: int


def disk_use(run: Run) -> DiskUse:
    """Return the size of the run's files; a file that vanishes meanwhile counts as 0."""
    checkpoints, images = _size(run.folder / "checkpoints"), _size(run.folder / "images")
    return DiskUse(_size(run.folder), checkpoints, images)


def refuse_deletion(run: Run) -> None:
    """Raise UserError for a live run, for a run that another process works on, and for a reference run."""
    with run.hold():
        pass


def delete(run: Run) -> None:
    """Move a run to the trash. Raises UserError as `refuse_deletion` does, and if the folder can't be moved."""
    trash = run.folder.parent / TRASH
    with run.hold():
        try:
            if trash.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, f"{TRASH} is a link")
            trash.mkdir(exist_ok=True)
            run.folder.rename(trash / run.id)
        except OSError as error:
            problem = f"The run {run.id} can't be deleted: {error.strerror}."
            raise UserError(problem, f"Check {trash.parent}.") from None


def undelete(runs: RunsFolder, run_id: str) -> Run:
    """Move a deleted run back from the trash. Raises UserError if the trash no longer holds it."""
    deleted = runs.root / TRASH / run_id
    if not atomic.is_folder(deleted):
        problem = f"The run {run_id} can't be brought back: the trash no longer holds it."
        raise UserError(problem, "Another console may have emptied the trash.")
    with log.hold(deleted, LOCK_SECONDS):
        try:
            deleted.rename(runs.root / run_id)
        except OSError as error:
            problem = f"The run {run_id} can't be brought back from the trash: {error.strerror}."
            raise UserError(problem, f"Check {runs.root}.") from None
    return Run(runs.root / run_id)


def refuse_left(runs: RunsFolder, run_id: str) -> None:
    """Raise UserError if emptying the trash has left files of this run."""
    left = runs.root / TRASH / run_id
    if left.exists():
        problem = f"The run {run_id} is deleted, but some of its files can't be removed."
        raise UserError(problem, f"Remove the folder yourself: {left}")


def trashed(runs: RunsFolder) -> list[str]:
    """Return the ids of the runs in the trash. A trash that is a link, and links in it, are ignored as foreign."""
    trash = runs.root / TRASH
    try:
        return sorted(entry.name for entry in trash.iterdir() if not (trash.is_symlink() or entry.is_symlink()))
    except OSError:
        return []


def empty_trash(runs: RunsFolder, run_ids: list[str] | None = None) -> None:
    """Delete these runs, by default all runs in the trash, for good.

    A console passes the ids of its own deletions, so that it leaves those of other consoles alone. A run that another
    process works on stays, such as one that another console is bringing back.
    """
    present = trashed(runs)
    for run_id in present if run_ids is None else set(present).intersection(run_ids):
        deleted = runs.root / TRASH / run_id
        with contextlib.suppress(UserError), log.hold(deleted):
            shutil.rmtree(deleted, ignore_errors=True)
    if not trashed(runs):
        shutil.rmtree(runs.root / TRASH, ignore_errors=True)


def keep_best_only(run: Run) -> int:
    """Remove every checkpoint but the best model, and return the bytes freed; resuming and extending need the others.

    Raises UserError as `Run.hold` does, for a run without a best model, and if a file can't be removed.
    """
    freed = 0
    with run.hold() as status:
        for path in _spare_checkpoints(status):
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                problem = f"{path} can't be removed: {error.strerror}."
                raise UserError(problem, f"Check the permissions of {path.parent} and its disk.") from None
            freed += size
    return freed


def prunable(runs: Iterable[Run]) -> dict[Run, int]:
    """Return the runs with spare checkpoints and their bytes, without live runs and runs that have no best model."""
    bytes_by_run = {}
    for run in runs:
        with contextlib.suppress(UserError, OSError):  # an OSError: the run is being deleted
            status = run.status()
            if not (run.reference or status.state.live) and (paths := _spare_checkpoints(status)):
                bytes_by_run[run] = sum(path.stat().st_size for path in paths)
    return bytes_by_run


def refuse_read_only(runs: Iterable[Run]) -> None:
    """Raise UserError if none of these runs has a folder of checkpoints that this user may write to."""
    folders = [run.folder / "checkpoints" for run in runs]
    if folders and not any(os.access(folder, os.W_OK | os.X_OK) for folder in folders):
        problem = f"The checkpoints in {folders[0]} can't be removed: the folder is read-only."
        raise UserError(problem, "Check its permissions and its disk.")


def prune(runs: Iterable[Run]) -> int:
    """Remove the spare checkpoints of all prunable runs, and return the bytes freed.

    Raises UserError if a run can't be pruned, after pruning the others.
    """
    freed, failures = 0, []
    for run in prunable(runs):
        try:
            freed += keep_best_only(run)
        except UserError as error:
            failures.append(error)
    if failures:
        more = f" {len(failures) - 1} more runs can't be pruned." if len(failures) > 1 else ""
        done = f" {freed:,} bytes of other runs were freed." if freed else ""
        raise UserError(failures[0].problem + more, failures[0].remedy + done)
    return freed


def _spare_checkpoints(status: RunStatus) -> list[Path]:
    """Return every checkpoint but the best model. Raises UserError for a run without a best model."""
    run = status.run
    run.refuse_writing()
    best = run.folder / status.summary.best_file
    folder = run.folder / "checkpoints"
    if not status.summary.best_file or best.parent != folder or not best.is_file():
        raise UserError(f"The run {run.id} has no best model to keep.", "Delete the run if you don't need it.")
    return [path for path in folder.iterdir() if path != best and path.is_file() and not path.is_symlink()]


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
