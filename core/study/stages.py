"""The stages of the study: which runs it consists of, and which of them exist already. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from dipddpm.core.config import (
    AnyRun,
    DataConfig,
    DdpmConfig,
    DdpmRun,
    DipConfig,
    DipRun,
    ExplanationRun,
    HybridRun,
    ImagesConfig,
    RestoreRun,
    StudyRun,
    Substitution,
)
from dipddpm.core.runs import CHECKPOINT_FILE, Run, RunsFolder, RunState
from dipddpm.core.runs.equivalence import equivalent_runs, preferred_run
from dipddpm.core.runs.extend import extend

FULL_EPOCHS = 100


@dataclass(frozen=True)
class Stage:
    """One run of the study."""

    key: str
    title: str
    config: AnyRun
    share: float
    """Rough share of the study's time, relative to the other stages."""
    longer_than: str = ""
    """Key of the earlier stage that this stage continues; empty for none."""
    more: int = 0
    """Epochs to train beyond the earlier stage."""


def stages(study: StudyRun) -> list[Stage]:
    """Return the study's stages in order."""
    options, data = study.study, study.data
    ddpm = DdpmConfig(epochs=options.epochs, sample_steps=options.sample_steps)
    dip = DipRun(
        data=data,
        images=ImagesConfig(indices=options.images),
        # Fit to the last step to show the decline after the peak.
        dip=DipConfig(iterations=options.iterations, run_on=True),
    )
    planned = [
        Stage("ddpm", "DDPM alone", DdpmRun(data=data, ddpm=ddpm), options.epochs),
        Stage("dip", "DIP alone", dip, 1),
        Stage("substitution", "The hybrid as published", _hybrid(data, ddpm), options.epochs),
    ]
    if options.full:
        long, more = _hybrid(data, msgspec.structs.replace(ddpm, epochs=FULL_EPOCHS)), FULL_EPOCHS - options.epochs
        planned.append(Stage("full", f"The hybrid, {FULL_EPOCHS} epochs", long, more, "substitution", more))
    planned.append(Stage("explanation", "Why it failed", ExplanationRun(explanation=study.explanation), 2))
    restore = RestoreRun(prior=study.prior, restore=study.restore)
    planned.append(Stage("hybrids", "The hybrids that the study lacks", restore, 40))
    return [replace(stage, config=_with_study_settings(study, stage)) for stage in planned]


def find_runs(runs: RunsFolder, stage: Stage) -> Iterator[Run]:
    """Yield the existing runs with the stage's settings, the best first: finished, else live, else the study's own.

    Finished and live runs count even if the study didn't start them. Another owner's interrupted run doesn't count,
    since resuming it is up to its owner. A reference run never counts, because a study that took its stages from the
    shipped runs would reproduce nothing.
    """
    known = equivalent_runs(runs.runs(), stage.config)
    while run := preferred_run(known, lambda run: is_own(run, stage)):
        yield run
        known = [status for status in known if status.run != run]


def is_own(run: Run, stage: Stage) -> bool:
    """Return whether a study of the same name made the run; a study names its runs like `study: DDPM alone`."""
    return run.config().name.partition(": ")[0] == stage.config.name.partition(": ")[0]


@dataclass(frozen=True)
class Launcher:
    """The runs folder of a study, and the functions that start and stop workers in it."""

    runs: RunsFolder
    start: Callable[..., None]
    """Starts the worker of a new run, or with `resume=True` of a run that has a checkpoint."""
    resume: Callable[[Run], None]
    """Starts a worker for an interrupted run. Raises UserError if the run can't be resumed."""
    stop: Callable[[Run], RunState]
    """Stops a run and waits for its end. Raises UserError if the run has ended."""
    find_process: Callable[[Run], str]
    """Returns the name of the process that works on a run, also before it has logged that it goes on; else ""."""
    refuse_changed: Callable[[Run], None]
    """Raises UserError if the data of a run have changed since it began."""


def start_run(launcher: Launcher, stage: Stage, before: Run | None) -> Run:
    """Start a new run for a stage; `before` is the run that a longer stage continues, if it exists."""
    if before is None or not (before.folder / CHECKPOINT_FILE).is_file():
        run = launcher.runs.create(stage.config)
        launcher.start(run)
    else:
        run = extend(launcher.runs, before, stage.more)
        launcher.start(run, resume=True)
    return run


def _hybrid(data: DataConfig, ddpm: DdpmConfig) -> HybridRun:
    """Return the published hybrid with its default options."""
    return HybridRun(data=data, ddpm=ddpm, hybrid=Substitution())


def _with_study_settings(study: StudyRun, stage: Stage) -> AnyRun:
    """Return the stage's config with the settings that the study shares among its runs."""
    return msgspec.structs.replace(
        stage.config,
        name=f"{study.name or 'study'}: {stage.title}",
        seed=study.seed,
        device=study.device,
        threads=study.threads,
        checkpoint_seconds=study.checkpoint_seconds,
        checkpoint_epochs=study.checkpoint_epochs,
    )
