"""Hybrid runs and the head-to-head as real processes; a run that is killed and resumed gives the same numbers."""

from __future__ import annotations

import signal
from collections import Counter
from typing import Any

import msgspec
import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import BestModelStored, Message, PsnrMeasured, RestorationScored
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat
from dipddpm.core.runs.extend import extend
from dipddpm.core.runs.slices import with_images
from tests.helpers import Until, recorded

pytestmark = pytest.mark.slow
COMMON = {
    "data.dataset": "fashion-mini",
    "data.train_images": 64,
    "device": "cpu",
    "threads": 1,
    "checkpoint_seconds": 0,
    "dip.iterations": 12,
    "dip.channels": 4,
    "dip.measure_every": 4,
    "dip.stop": "never",
}
HYBRID = {
    "images.indices": "0-1",
    "ddpm.samples": 0,
    "ddpm.timesteps": 50,
    "ddpm.network": "unet",
    "unet.channels": "8,8",
}
RESTORE = {
    "restore.tasks": "inpaint:missing=0.5,sigma=5",
    "restore.sets": "fashion-mini leaves",
    "restore.methods": "guided",
    "restore.images": 2,
    "restore.seeds": 1,
}


def numbers(run: Run) -> list[Any]:
    """Return the measurements in the run's history, without those that depend on the clock."""
    fixed = {"time": 0.0, "offset": 0, "seconds": 0.0}
    return [
        msgspec.structs.replace(event, **{name: value for name, value in fixed.items() if hasattr(event, name)})
        for event in run.events()
        if isinstance(event, PsnrMeasured | BestModelStored)
        or (isinstance(event, RestorationScored) and not event.budget_of)
    ]


def carry_out(runs: RunsFolder, config: configs.AnyRun, until: Until) -> Run:
    run = runs.create(config)
    local.start(run, now=True)
    until(lambda: not run.status().state.live, 600)
    assert run.status().state is RunState.finished, run.status().summary.error
    return run


def killed_on_the_way(runs: RunsFolder, config: configs.AnyRun, until: Until, kind: type, *, least: int = 2) -> Run:
    """Carry out a run that is killed by SIGKILL after at least a few events of a kind, then resumed.

    A run that ended before the signal came is made again.
    """
    for _ in range(20):
        run = runs.create(config)
        local.start(run, now=True)
        until(lambda: len(recorded(run, kind)) >= least, 600)  # noqa: B023
        local.send_signal(run, signal.SIGKILL)
        until(lambda: (worker := heartbeat.read(run.folder)) is not None and not heartbeat.is_alive(worker))  # noqa: B023
        if run.status().state is RunState.crashed:
            break
    assert run.status().state is RunState.crashed, "every run ended before it could be killed"
    local.resume(run, now=True)
    until(lambda: recorded(run, events.RunResumed))
    until(lambda: not run.status().state.live, 600)
    assert run.status().state is RunState.finished, run.status().summary.error
    return run


@pytest.mark.parametrize("trained", [pytest.param(True, marks=pytest.mark.durability), False], ids=["epochs", "from"])
def test_hybrid_run_resumes_exactly_after_kill(trained: bool, prior: Run, runs: RunsFolder, until: Until) -> None:
    own = {"prior.run": "", "ddpm.epochs": 1} if trained else {"prior.run": str(prior.folder)}
    config = configs.build(
        "hybrid", method="guided", task="inpaint:missing=0.5,sigma=5", settings={**COMMON, **HYBRID, **own}
    )
    whole = carry_out(runs, config, until)
    killed = killed_on_the_way(runs, config, until, PsnrMeasured)
    assert numbers(killed) == numbers(whole)
    methods = [event.method for event in whole.events() if isinstance(event, RestorationScored)]
    assert methods == ["guided", "dip-mean", "ddpm-mean"]
    (verdict,) = [event.text for event in whole.events() if isinstance(event, Message)][-1:]
    assert verdict.startswith("inpaint:missing=0.5,sigma=5 on fashion-mini, 2 images, 1 seed: guided - ")
    taken = [event.run for event in whole.events() if isinstance(event, events.PriorLoaded)]
    assert taken == ([] if trained else [prior.id])
    with pytest.raises(UserError, match="can't be extended"):
        extend(runs, whole, 1)


@pytest.mark.durability
def test_restore_run_resumes_exactly_within_cell_after_kill(prior: Run, runs: RunsFolder, until: Until) -> None:
    config = configs.build("restore", settings={**COMMON, **RESTORE, "prior.run": str(prior.folder)})
    whole = carry_out(runs, config, until)
    killed = killed_on_the_way(runs, config, until, RestorationScored)
    assert numbers(killed) == numbers(whole)
    counts = Counter(event.set for event in numbers(whole))
    assert len(set(counts.values())) == 1
    assert counts.keys() == {"fashion-mini", "leaves"}
    for name in ("scores.json", "scores.txt"):
        assert (whole.folder / name).is_file()
    saved = [event.file for event in whole.events() if isinstance(event, events.ImageSaved)]
    assert saved[-1] == "images/quality-time-1.png"
    assert all((whole.folder / name).is_file() for name in saved)


@pytest.mark.durability
@pytest.mark.parametrize("processes", [1, 2])
def test_added_images_resume_exactly_after_kill(processes: int, prior: Run, runs: RunsFolder, until: Until) -> None:
    given = {**COMMON, **RESTORE, "prior.run": str(prior.folder), "processes": processes}
    first = carry_out(runs, configs.build("restore", settings=given), until)
    config = with_images(first, "2-3")
    whole = carry_out(runs, config, until)
    killed = killed_on_the_way(
        runs, config, until, RestorationScored, least=len(recorded(first, RestorationScored)) + 2
    )
    assert numbers(killed) == numbers(whole)
    assert numbers(whole)[: len(numbers(first))] == [msgspec.structs.replace(event, step=0) for event in numbers(first)]
    board = Scoreboard(killed.events())
    assert {cell.size for cell in board.cells.values()} == {"4 images, 1 seed"}
