"""Go on with a finished run: a new run with a longer plan, which begins where the old one ended. Loads no torch."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec

from core import config as configs
from core import events
from core.config import HybridRun, RestoreRun
from core.errors import UserError
from core.events import Event
from core.runs.folder import Run, RunsFolder
from core.runs.log import EventLog
from core.runs.summary import State

CHECKPOINT = "checkpoints/last.safetensors"


def length(run: Run) -> tuple[str, int]:
    """What measures the run's length, and how long it is: ("ddpm.epochs", 20) or ("dip.iterations", 600)."""
    config = run.config()
    if isinstance(config, RestoreRun) or (
        isinstance(config, HybridRun) and (config.hybrid.restorer or config.hybrid.learns)
    ):
        raise UserError(f"The run {run.id} has restored images, which can't be gone on with.", "Fork it instead.")
    section, option = ("ddpm", "epochs") if run.look().summary.epochs else ("dip", "iterations")
    if not hasattr(config, section):
        raise UserError(f"The run {run.id} has no length that could be extended.", "Fork it instead.")
    return f"{section}.{option}", getattr(getattr(config, section), option)


def extend(runs: RunsFolder, run: Run, more: int) -> Run:
    """A new run: the old one's config with `more` epochs (or iterations), its log, its checkpoints and its images.

    Its worker is started with `core.launch.start(run, resume=True)`. The old run stays as it is. Raises UserError for
    a run that isn't finished or has given up its last checkpoint.
    """
    glance = run.look()
    if glance.state is not State.finished:
        raise UserError(f"The run {run.id} is {glance.state}, not finished.", "Resume it instead.")
    if not (run.folder / CHECKPOINT).is_file():
        raise UserError(f"The run {run.id} no longer has its last checkpoint.", "Fork it, to run it anew for longer.")
    if more < 1:
        raise UserError(f"{more} more is no extension.", "Give 1 or more.")
    key, before = length(run)
    new = runs.create(_with(run.config(), key, before + more))
    try:
        for name in ("checkpoints", "images"):
            shutil.copytree(run.folder / name, new.folder / name, dirs_exist_ok=True)
        for path in run.folder.glob("*.safetensors"):
            shutil.copy2(path, new.folder / path.name)
        log = EventLog(new.folder)
        try:
            for event in run.events():
                if not isinstance(event, events.ENDS):  # it has not ended, then
                    log.append(_planned(event, key, (before + more) / before))
            log.append(events.Message(text=f"Goes on from {run.id}, {key} {before} + {more}", level="info"))
        finally:
            log.close()
    except OSError as error:
        shutil.rmtree(new.folder, ignore_errors=True)
        raise UserError(f"The run {run.id} can't be copied: {error.strerror}.", "Free some space.") from None
    return new


def _with(config: configs.AnyRun, key: str, value: int) -> configs.AnyRun:
    section, _, option = key.partition(".")
    values: dict[str, Any] = msgspec.to_builtins(config)
    values[section][option] = value
    # Through TOML's types, where a tuple is a list.
    return configs.from_builtins(values)


def _planned(event: Event, key: str, ratio: float) -> Event:
    """The start's totals as they are now that the plan is longer."""
    if not isinstance(event, events.RunStarted):
        return event
    epochs = round(event.epochs * ratio) if key.endswith("epochs") else event.epochs
    return msgspec.structs.replace(event, epochs=epochs, steps=round(event.steps * ratio))
