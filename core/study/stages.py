"""The stages of the study: which runs it is made of, and which of them are in the history already. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
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
    """Of the study's time, roughly, in any unit."""
    longer_than: str = ""
    """The key of a stage before it that it goes on from."""
    more: int = 0
    """Epochs that it takes beyond that stage's."""


def stages(study: StudyRun) -> list[Stage]:
    """The runs that the study is made of, in order."""
    options, data = study.study, study.data
    ddpm = DdpmConfig(epochs=options.epochs, sample_steps=options.sample_steps)
    dip = DipRun(
        data=data,
        images=ImagesConfig(indices=options.images),
        # To the last step, so that the fall after the peak is seen.
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


def find_run(runs: RunsFolder, stage: Stage) -> Run | None:
    """The run of the history that is this stage: a finished one, else one under way, whoever started it.

    Else one that the study has begun: what somebody else has cut short is theirs to go on with. A reference run is
    none: a study that finds its stages among what ships would reproduce nothing.
    """
    known = equivalent_runs(runs.runs(), stage.config)
    return preferred_run(known, lambda run: is_own(run, stage))


def is_own(run: Run, stage: Stage) -> bool:
    """Whether a study of this name made the run: it names its runs `study: DDPM alone`."""
    return run.config().name.partition(": ")[0] == stage.config.name.partition(": ")[0]


@dataclass(frozen=True)
class Launcher:
    """What a study needs to carry out its stages: a runs folder, and how workers are started and stopped there."""

    runs: RunsFolder
    start: Callable[..., None]
    """Gives a new run a worker, or with `resume=True` one with a checkpoint."""
    resume: Callable[[Run], None]
    """Gives a run that was cut short a worker. Raises UserError for one that can't be resumed."""
    stop: Callable[[Run], RunState]
    """Asks a run to stop and waits for its end. Raises UserError for one that has ended."""


def start_run(launcher: Launcher, stage: Stage, before: Run | None) -> Run:
    """Start a new run for a stage. `before` is the run that it continues, if the stage is a longer one."""
    if before is None or not (before.folder / CHECKPOINT_FILE).is_file():
        run = launcher.runs.create(stage.config)
        launcher.start(run)
    else:
        run = extend(launcher.runs, before, stage.more)
        launcher.start(run, resume=True)
    return run


def _hybrid(data: DataConfig, ddpm: DdpmConfig) -> HybridRun:
    """The published hybrid, whichever one gets without asking today."""
    return HybridRun(data=data, ddpm=ddpm, hybrid=Substitution())


def _with_study_settings(study: StudyRun, stage: Stage) -> AnyRun:
    """The stage's config with what the study says for all its runs."""
    return msgspec.structs.replace(
        stage.config,
        name=f"{study.name or 'study'}: {stage.title}",
        seed=study.seed,
        device=study.device,
        threads=study.threads,
        checkpoint_seconds=study.checkpoint_seconds,
        checkpoint_epochs=study.checkpoint_epochs,
    )
