"""Extend a finished run: a new run with more epochs or iterations continues where the old one ended. Loads no torch."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterable

from msgspec.structs import replace

from dipddpm.core import events
from dipddpm.core.config import HybridRun, RestoreRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.runs.folder import CHECKPOINT_FILE, ENDING_SECONDS, Run, RunsFolder
from dipddpm.core.runs.log import EventLog, hold
from dipddpm.core.runs.summary import RunState


def length(run: Run) -> tuple[str, int]:
    """Return the option that sets the run's length, and its value: ("ddpm.epochs", 20) or ("dip.iterations", 600).

    Raises UserError for a run without such an option and for one that has restored images.
    """
    config = run.config()
    if isinstance(config, RestoreRun) or (
        isinstance(config, HybridRun) and (config.hybrid.restorer_path or config.hybrid.learns)
    ):
        raise UserError(f"The run {run.id} has restored images, so it can't be extended.", "Fork it instead.")
    section, option = ("ddpm", "epochs") if run.status().summary.epochs else ("dip", "iterations")
    if not hasattr(config, section):
        raise UserError(f"The run {run.id} has no length that could be extended.", "Fork it instead.")
    return f"{section}.{option}", getattr(getattr(config, section), option)


def extend(runs: RunsFolder, run: Run, more: int) -> Run:
    """Create a run with the old run's config, `more` epochs (or iterations), its log, its checkpoints and its images.

    The caller starts the new run with `core.launch.local.start(run, resume=True)`. The old run stays unchanged. Raises
    UserError for a run that isn't finished or no longer has its last checkpoint.
    """
    with contextlib.nullcontext() if run.reference else hold(run.folder, ENDING_SECONDS, shared=True):
        return _extend(runs, run, more)


def _extend(runs: RunsFolder, run: Run, more: int) -> Run:
    config = run.config()
    status = run.status()
    if status.state is not RunState.finished:
        raise UserError(f"The run {run.id} is {status.state}, not finished.", "Resume it instead.")
    if not (run.folder / CHECKPOINT_FILE).is_file():
        raise UserError(f"The run {run.id} no longer has its last checkpoint.", "Fork it and run it from the start.")
    if more < 1:
        raise UserError(f"A run can't be extended by {more}.", "Extend it by 1 or more.")
    key, before = length(run)
    section, _, option = key.partition(".")
    longer = replace(getattr(config, section), **{option: before + more})
    new = runs.create(replace(config, **{section: longer}))
    try:
        for path in (*run.files("checkpoints/*"), *run.files("images/*"), *run.files("*.safetensors")):
            shutil.copyfile(path, new.folder / path.relative_to(run.folder))
        with contextlib.closing(EventLog(new.folder)) as log:
            # The new run's own event comes first, because the time of a log's first event is that of its run.
            log.append(events.Message(text=f"Extends {run.id}: {key} {before} + {more}", level="info"))
            for event in _copied_events(run.events(), key, (before + more) / before):
                log.append(event)
    except OSError as error:
        shutil.rmtree(new.folder, ignore_errors=True)
        problem = f"The run {run.id} can't be copied: {error.strerror}."
        raise UserError(problem, "Check that the runs folder can be written and has free space.") from None
    return new


def _copied_events(history: list[Event], key: str, ratio: float) -> Iterable[Event]:
    """Yield the history without its end and without the events after the training, which the new run repeats.

    Only the last checkpoint event remains; the totals in `RunStarted` are multiplied by `ratio`.
    """
    trained = [event.step for event in history if isinstance(event, events.EpochFinished)]
    last = trained[-1] if trained and key.endswith("epochs") else math.inf
    checkpoints = [event for event in history if isinstance(event, events.CheckpointStored)]
    for event in history:
        match event:
            case events.RunStarted():
                epochs = round(event.epochs * ratio) if key.endswith("epochs") else event.epochs
                yield replace(event, epochs=epochs, steps=round(event.steps * ratio))
            case events.RunFinished() | events.RunStopped() | events.RunFailed():
                pass
            case events.CheckpointStored():
                if event is checkpoints[-1]:
                    yield replace(event, step=int(min(event.step, last)))
            case events.RunResumed():  # the history already omits the events that this resume made void
                yield replace(event, from_offset=None)
            case _ if getattr(event, "step", 0) <= last:
                yield event
