"""What is kept on disk: delete with a way back, disk use, and giving up what only resuming needs. Loads no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dipddpm.core.errors import UserError
from dipddpm.core.runs.folder import Run, RunsFolder

TRASH = ".trash"
"""Deleted runs wait here, in the runs folder itself, so that deleting and restoring is one rename."""


class DiskUse(NamedTuple):
    """Bytes on disk."""

    total: int
    checkpoints: int
    images: int


def disk_use(run: Run) -> DiskUse:
    """What the run's files take up; what vanishes meanwhile counts as nothing."""
    checkpoints, images = _size(run.folder / "checkpoints"), _size(run.folder / "images")
    return DiskUse(_size(run.folder), checkpoints, images)


def refuse_deletion(run: Run) -> None:
    """Raise UserError for a run that is live, and for a reference run."""
    run.refuse_change()
    if run.status().state.live:
        raise UserError(f"The run {run.id} is still live.", "Stop it first.")


def delete(run: Run) -> None:
    """Move a run to the trash. Raises UserError as `refuse_deletion` does, or when the folder can't be moved."""
    refuse_deletion(run)
    trash = run.folder.parent / TRASH
    try:
        if trash.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, f"{TRASH} is a link")
        trash.mkdir(exist_ok=True)
        run.folder.rename(trash / run.id)
    except OSError as error:
        raise UserError(f"The run {run.id} can't be deleted: {error.strerror}.", f"Check {trash.parent}.") from None


def undelete(runs: RunsFolder, run_id: str) -> Run:
    """Bring a deleted run back. Raises UserError where the trash doesn't hold it any more."""
    try:
        (runs.root / TRASH / run_id).rename(runs.root / run_id)
    except OSError as error:
        raise UserError(f"The run {run_id} can't be restored: {error.strerror}.", "It may be gone for good.") from None
    return Run(runs.root / run_id)


def trashed(runs: RunsFolder) -> list[str]:
    """The ids of deleted runs that can still be restored. A link in place of the trash, or in it, is none of ours."""
    trash = runs.root / TRASH
    try:
        return sorted(entry.name for entry in trash.iterdir() if not (trash.is_symlink() or entry.is_symlink()))
    except OSError:
        return []


def empty_trash(runs: RunsFolder, run_ids: list[str] | None = None) -> None:
    """Delete for good: these runs, or all that were deleted. Another console's deletions are its own to empty."""
    present = trashed(runs)
    for run_id in present if run_ids is None else set(present).intersection(run_ids):
        shutil.rmtree(runs.root / TRASH / run_id, ignore_errors=True)
    if not trashed(runs):
        shutil.rmtree(runs.root / TRASH, ignore_errors=True)


def spare_checkpoints(run: Run) -> list[Path]:
    """Every checkpoint but the best model. Raises UserError for a live or reference run, or one without best model."""
    run.refuse_change()
    run.refuse_writing()
    status = run.status()
    if status.state.live:
        raise UserError(f"The run {run.id} is still live.", "Stop it first.")
    best = run.folder / status.summary.best_file
    folder = run.folder / "checkpoints"
    if not status.summary.best_file or best.parent != folder or not best.is_file():
        raise UserError(f"The run {run.id} has no best model to keep.", "Delete the run if it isn't needed.")
    return [path for path in folder.iterdir() if path != best and path.is_file() and not path.is_symlink()]


def keep_best_only(run: Run) -> int:
    """Remove the spare checkpoints, which resuming and extending need; the bytes freed. Raises UserError as they do."""
    freed = 0
    for path in spare_checkpoints(run):
        freed += path.stat().st_size
        path.unlink(missing_ok=True)
    return freed


def prunable(runs: Iterable[Run]) -> dict[Run, int]:
    """The runs of which something is spare, and how many bytes; live ones and those without a best model aren't."""
    bytes_by_run = {}
    for run in runs:
        with contextlib.suppress(UserError):
            if paths := spare_checkpoints(run):
                bytes_by_run[run] = sum(path.stat().st_size for path in paths)
    return bytes_by_run


def prune(runs: Iterable[Run]) -> int:
    """Keep the best model only of each run that can be pruned; the bytes freed."""
    return sum(keep_best_only(run) for run in prunable(runs))


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(parent, name).lstat().st_size
    return total
