"""What a run goes on from after a stop or a crash: its last checkpoint, and the best model that belongs to it."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import torch

from dipddpm.core.compute import checkpoint, rng
from dipddpm.core.compute.checkpoint import StoredFile
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, BestModelStored, CheckpointStored, Experiment
from dipddpm.core.runs import BEST_FILE, CHECKPOINT_FILE, EventReader, history

BEST_BEFORE = Path("checkpoints/best-before.safetensors")
"""The best model of the last checkpoint, from when a better one replaces it until the next checkpoint.

Without it, a run that is killed between the two would go on from a time at which another model was the best.
"""
_LOGGED = "logged"
_GENERATORS = "generators"
_FORMAT = "format"
FORMAT = 2
"""Version of what a checkpoint holds; in the first one, runs remembered which items of a step they had yielded."""


def store(folder: Path, experiment: Experiment, device: torch.device, log_size: int) -> StoredFile:
    """Put all that resuming needs on disk; `log_size` is where the log ends, after the last `Step`. Raises OSError."""
    own = {_LOGGED: log_size, _GENERATORS: rng.state_dict(device), _FORMAT: FORMAT}
    stored = checkpoint.save(folder / CHECKPOINT_FILE, {**experiment.state_dict(), **own}, experiment.network)
    (folder / BEST_BEFORE).unlink(missing_ok=True)
    return stored


def store_best(folder: Path, best: BestModel) -> StoredFile:
    """Put a best model on disk, and keep the one before it where the last checkpoint is of that one's time."""
    if (folder / BEST_FILE).exists() and not (folder / BEST_BEFORE).exists():
        try:
            os.link(folder / BEST_FILE, folder / BEST_BEFORE)
        except OSError:  # a file system without links
            shutil.copyfile(folder / BEST_FILE, folder / BEST_BEFORE)
    return checkpoint.save(folder / BEST_FILE, best.tensors, best.network)


def load(folder: Path, experiment: Experiment, device: torch.device) -> int:
    """Bring an experiment to where its last checkpoint was made; the size that the log had then.

    Without a checkpoint it stays at its beginning. Raises UserError for a checkpoint that is damaged, another run's or
    another version's.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        return 0
    state = checkpoint.load_state(folder / CHECKPOINT_FILE, device)
    if state.pop(_FORMAT, 1) != FORMAT:
        problem = f"{CHECKPOINT_FILE} was stored by another version of this program, and can't be resumed."
        raise UserError(problem, "Fork the run, to run it anew, or resume it with the version that it began with.")
    try:
        log_size = int(state.pop(_LOGGED))
        generator_state = state.pop(_GENERATORS)
        experiment.load_state_dict(state)
        rng.load_state_dict(generator_state, device)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        problem = f"{CHECKPOINT_FILE} does not fit the run: {type(error).__name__}."
        raise UserError(problem, "It is damaged, or another run's: start the run anew.") from error
    # The log may have been copied, by a run that goes on with this one: there the checkpoint's own line tells where.
    digest = checkpoint.digest(folder / CHECKPOINT_FILE)
    recorded = EventReader(folder).read()
    lines = [event.offset for event in recorded if isinstance(event, CheckpointStored) and event.sha256 == digest]
    return lines[-1] if lines else log_size


def restore_best(folder: Path) -> None:
    """Put the best model that the logical history tells of back in its place."""
    stored_best = [event for event in history(EventReader(folder).read()) if isinstance(event, BestModelStored)]
    before = folder / BEST_BEFORE
    with contextlib.suppress(FileNotFoundError):
        if stored_best and checkpoint.digest(before) == stored_best[-1].sha256:
            before.replace(folder / BEST_FILE)
        before.unlink(missing_ok=True)
