"""Runs as jobs of a real Slurm: submitted, followed, stopped, requeued and gone on with, as a person would have it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import cluster, events, launch, slurm
from core.config import DdpmRun
from core.errors import UserError
from core.runs import CHECKPOINT_FILE, EventReader, Run, RunsFolder, State
from core.runs import job as jobs
from tests.durability.slurm import MISSING, Cluster

Build = Callable[..., DdpmRun]
Until = Callable[..., Any]
ON = "slurm:partition=all,time=30,cpus_per_task=1"
LONG = {"ddpm__epochs": 12, "data__train_images": 256}

pytestmark = [
    pytest.mark.durability,
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not on this machine: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def installed() -> Iterator[Cluster]:
    # Not below pytest's folder: the path of munge's socket may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture
def here(installed: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster as this process and all commands see it, with nothing in it before and after."""
    monkeypatch.setenv("SLURM_CONF", str(installed.config))
    monkeypatch.setattr(slurm, "_watch", slurm._Watch())
    yield installed
    installed.ask("scancel", "--full", "--signal=KILL", "--me")
    installed.ask("scancel", "--me")


def recorded(run: Run, kind: type) -> list[Any]:
    return [event for event in EventReader(run.folder).read() if isinstance(event, kind)]


def number(run: Run) -> str:
    job = jobs.read(run.folder)
    assert job is not None
    return job.id


def at_work(run: Run) -> Callable[[], bool]:
    return lambda: len(recorded(run, events.EpochFinished)) >= 2


def told(run: Run) -> list[Any]:
    """What a run came to: the loss of each epoch, and the digests of the best models on the way."""
    history = run.events()
    losses = [(event.epoch, event.loss) for event in history if isinstance(event, events.EpochFinished)]
    return [losses, [event.sha256 for event in history if isinstance(event, events.BestModelStored)]]


def dipddpm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from tui.cli import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_what_slurm_requeues_goes_on_exactly(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    """Once as in a preemption, by SIGTERM, and once by the signal that submitit has sent before the time is up."""
    whole, run = (runs.create(tiny(**LONG | {"data__train_images": 512})) for _ in range(2))
    launch.start(run, on=ON)
    until(at_work(run))
    here.ask("scontrol", "requeue", number(run))
    until(lambda: run.look().state is State.queued)
    until(lambda: len(recorded(run, events.RunResumed)) == 1)
    epochs = len(recorded(run, events.EpochFinished))
    until(lambda: len(recorded(run, events.EpochFinished)) > epochs)
    here.ask("scancel", "--signal=USR2", number(run))
    until(lambda: len(recorded(run, events.RunResumed)) == 2)
    until(lambda: not run.look().state.live)
    assert run.look().state is State.finished
    assert recorded(run, events.RunStopped) == [], "followers go on following"
    launch.start(whole, now=True)
    until(lambda: whole.look().state is State.finished)
    assert told(run) == told(whole)


def test_a_job_is_stopped_and_goes_on_as_a_job(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(**LONG))
    launch.start(run, on=ON)
    first = number(run)
    with pytest.raises(UserError, match="already"):
        launch.resume(run)
    until(at_work(run))
    assert dipddpm("stop", run.id).stdout == f"{run.id} is stopped\n"
    assert (run.folder / CHECKPOINT_FILE).is_file()
    resumed = dipddpm("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert run.look().state is State.finished
    assert int(number(run)) > int(first)


def test_a_job_that_does_not_listen_is_cancelled(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(**LONG))
    launch.start(run, on=ON)
    until(at_work(run))
    launch.request_stop(run)
    (run.folder / "stop").unlink(missing_ok=True)  # as a file system would that shows it to nobody else
    assert cluster.cancel(run)
    until(lambda: not run.look().state.live)
    assert run.look().state is State.stopped


def test_a_job_that_waits_is_queued_and_leaves_the_queue(
    here: Cluster, runs: RunsFolder, tiny: Build, until: Until
) -> None:
    busy, waiting = (runs.create(tiny(**LONG)) for _ in range(2))
    launch.start(busy, on="slurm:cpus-per-task=2")
    launch.start(waiting, on="slurm:cpus-per-task=2")
    until(lambda: re.search("queued, (Resources|Priority)", dipddpm("ls").stdout))
    assert re.search(r"queued \(Slurm: (Resources|Priority)\)", dipddpm("show", waiting.id).stdout)
    assert launch.stop(waiting) is State.stopped
    until(lambda: here.ask("squeue", "--states=all", "-h", "-o%T", "-j", number(waiting)).strip() == "CANCELLED")
    launch.stop(busy)
    launch.resume(waiting, on=cluster.HERE)
    assert jobs.read(waiting.folder) is None
    until(lambda: waiting.look().state.live)
    assert launch.stop(waiting) is State.stopped


def test_a_job_that_is_gone_has_crashed(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(**LONG))
    launch.start(run, on=ON)
    until(at_work(run))
    assert launch.send_signal(run, signal.SIGKILL)
    until(lambda: not run.look().state.live)
    assert run.look().state is State.crashed
    assert "its last word (FAILED)" in run.look().hint
    launch.resume(run)
    until(lambda: run.look().state is State.finished)


def test_what_slurm_does_not_take_leaves_nothing(here: Cluster, runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny())
    with pytest.raises(UserError, match="Invalid partition name"):
        launch.start(run, on="slurm:partition=nowhere")
    assert runs.runs() == []


def test_a_sweep_is_a_job_for_each_run(here: Cluster, runs: RunsFolder) -> None:
    words = "sweep dip --dataset fashion-mini --images 1 --iterations 20 --seeds 2 --device cpu --group pair"
    swept = dipddpm(*words.split(), "--on", ON)
    assert swept.returncode == 0, swept.stderr
    assert dipddpm("watch", "pair").returncode == 0
    group = runs.runs()
    assert [run.look().state for run in group] == [State.finished] * 2
    assert len({number(run) for run in group}) == 2
