"""Tests of runs as jobs of a real Slurm: they are submitted, followed, stopped, requeued and resumed."""

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

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local, submit
from dipddpm.core.runs import CHECKPOINT_FILE, Run, RunsFolder, RunState, slurm
from tests.durability.slurm import MISSING, Cluster
from tests.helpers import Build, Until, recorded

ON = "slurm:partition=all,time=30,cpus_per_task=1"
LONG = {"ddpm__epochs": 12, "data__train_images": 256}

pytestmark = [
    pytest.mark.durability,
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not on this machine: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def installed() -> Iterator[Cluster]:
    # Not below pytest's folder, because the path of munge's socket may have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture
def here(installed: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Select the cluster for this process and all commands, with an empty queue before and after the test."""
    monkeypatch.setenv("SLURM_CONF", str(installed.config))
    monkeypatch.setattr(slurm, "_queue_cache", slurm._QueueCache())
    yield installed
    installed.ask("scancel", "--full", "--signal=KILL", "--me")
    installed.ask("scancel", "--me")


def number(run: Run) -> str:
    job = slurm.read(run.folder)
    assert job is not None
    return job.id


def at_work(run: Run) -> Callable[[], bool]:
    return lambda: len(recorded(run, events.EpochFinished)) >= 2


def results(run: Run) -> list[Any]:
    """Return the loss of each epoch and the digests of the best models."""
    history = run.events()
    losses = [(event.epoch, event.loss) for event in history if isinstance(event, events.EpochFinished)]
    return [losses, [event.sha256 for event in history if isinstance(event, events.BestModelStored)]]


def dipddpm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from dipddpm.tui.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_slurm_requeue_resumes_exactly(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    """The job is requeued once by SIGTERM, as in a preemption, and once by submitit's signal before the time limit."""
    whole, run = (runs.create(tiny(**LONG | {"data__train_images": 512})) for _ in range(2))
    local.start(run, on=ON)
    until(at_work(run))
    here.ask("scontrol", "requeue", number(run))
    until(lambda: run.status().state is RunState.queued)
    until(lambda: len(recorded(run, events.RunResumed)) == 1)
    epochs = len(recorded(run, events.EpochFinished))
    until(lambda: len(recorded(run, events.EpochFinished)) > epochs)
    here.ask("scancel", "--signal=USR2", number(run))
    until(lambda: len(recorded(run, events.RunResumed)) == 2)
    until(lambda: not run.status().state.live)
    assert run.status().state is RunState.finished
    assert recorded(run, events.RunStopped) == [], "a requeued run doesn't log an end"
    local.start(whole, now=True)
    until(lambda: whole.status().state is RunState.finished)
    assert results(run) == results(whole)


def test_slurm_job_stops_and_resumes_as_job(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(**LONG))
    local.start(run, on=ON)
    first = number(run)
    with pytest.raises(UserError, match="already"):
        local.resume(run)
    until(at_work(run))
    assert dipddpm("stop", run.id).stdout == f"{run.id} is stopped\n"
    assert (run.folder / CHECKPOINT_FILE).is_file()
    resumed = dipddpm("resume", run.id)
    assert resumed.returncode == 0, resumed.stderr
    assert run.status().state is RunState.finished
    assert int(number(run)) > int(first)


def test_submit_cancel_ends_job_that_ignores_stop(here: Cluster, runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(**LONG))
    local.start(run, on=ON)
    until(at_work(run))
    local.request_stop(run)
    (run.folder / "stop").unlink(missing_ok=True)  # as on a file system that doesn't show the file to the job
    assert submit.cancel(run)
    until(lambda: not run.status().state.live)
    assert run.status().state is RunState.stopped


def test_slurm_job_waiting_is_queued_and_can_be_stopped(
    here: Cluster, runs: RunsFolder, tiny: Build, until: Until
) -> None:
    busy, waiting = (runs.create(tiny(**LONG)) for _ in range(2))
    local.start(busy, on="slurm:cpus-per-task=2")
    local.start(waiting, on="slurm:cpus-per-task=2")
    until(lambda: re.search("queued, (Resources|Priority)", dipddpm("ls").stdout))
    assert re.search(r"queued \(Slurm: (Resources|Priority)\)", dipddpm("show", waiting.id).stdout)
    assert local.stop(waiting) is RunState.stopped
    until(lambda: here.ask("squeue", "--states=all", "-h", "-o%T", "-j", number(waiting)).strip() == "CANCELLED")
    local.stop(busy)
    local.resume(waiting, on=submit.HERE)
    assert slurm.read(waiting.folder) is None
    until(lambda: waiting.status().state.live)
    assert local.stop(waiting) is RunState.stopped


def test_slurm_job_killed_is_crashed_and_can_be_resumed(
    here: Cluster, runs: RunsFolder, tiny: Build, until: Until
) -> None:
    run = runs.create(tiny(**LONG))
    local.start(run, on=ON)
    until(at_work(run))
    assert local.send_signal(run, signal.SIGKILL)
    until(lambda: not run.status().state.live)
    assert run.status().state is RunState.crashed
    assert "could log its end (FAILED)" in run.status().hint
    local.resume(run)
    until(lambda: run.status().state is RunState.finished)


def test_slurm_submission_refused_leaves_no_run(here: Cluster, runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny())
    with pytest.raises(UserError, match="Invalid partition name"):
        local.start(run, on="slurm:partition=nowhere")
    assert runs.runs() == []


def test_slurm_sweep_submits_job_per_run(here: Cluster, runs: RunsFolder) -> None:
    words = "sweep dip --dataset fashion-mini --images 1 --iterations 20 --seeds 2 --device cpu --group pair"
    swept = dipddpm(*words.split(), "--on", ON)
    assert swept.returncode == 0, swept.stderr
    assert dipddpm("watch", "pair").returncode == 0
    group = runs.runs()
    assert [run.status().state for run in group] == [RunState.finished] * 2
    assert len({number(run) for run in group}) == 2
