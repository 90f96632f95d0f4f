"""Tests of the options of --on, of the states that Slurm reports, and of a job of submitit's local executor."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config, events
from dipddpm.core.config import DdpmRun
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local, submit
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat, slurm
from tests.helpers import PATIENCE_SECONDS, recorded

Answers = Callable[..., None]


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return a function that installs a squeue which prints the given lines, or fails if there are none."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def answer(*lines: str) -> None:
        squeue = tmp_path / "bin" / "squeue"
        squeue.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {int(not lines)}\n")
        squeue.chmod(squeue.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(slurm, "_queue_cache", slurm._QueueCache())

    return answer


def submitted(runs: RunsFolder, tiny: Callable[..., DdpmRun]) -> Run:
    run = runs.create(tiny())
    slurm.write(run.folder, slurm.ClusterJob("slurm:partition=gpu", "7", time.time() - 100.0))
    return run


@pytest.mark.parametrize(
    ("on", "options"),
    [
        ("slurm", {}),
        ("slurm:", {}),
        (
            "slurm:partition=gpu,long,gres=gpu:a100:1,time=1-12",
            {"partition": "gpu,long", "gres": "gpu:a100:1", "time": "1-12"},
        ),
        ("slurm:cpus-per-task=8, mem=32G", {"cpus_per_task": "8", "mem": "32G"}),
        ("slurm:nodelist=node[1-3,5],qos=high", {"nodelist": "node[1-3,5]", "qos": "high"}),
    ],
)
def test_submit_parse_reads_slurm_options(on: str, options: dict[str, str]) -> None:
    assert submit.parse(on) == options


@pytest.mark.parametrize(
    ("on", "problem", "remedy"),
    [
        ("slrum:partition=gpu", "can't be started on 'slrum'", "Did you mean slurm"),
        ("slurm:partiton=gpu", "no option 'partiton'", "Did you mean partition"),
        ("slurm:output=/etc/passwd", "no option 'output'", ""),
        ("slurm:partition", "has no value", "partition=gpu"),
        ("slurm:time=4h", "'4h' is not a valid time", "time=4:00:00"),
        ("slurm:time=0", "'0' is not a valid time", ""),
        ("slurm:mem=much", "'much' is not a valid mem", ""),
        ("slurm:cpus_per_task=0", "'0' is not a valid cpus_per_task", ""),
        ("slurm:account=a,account=b", "option account twice", ""),
        ("slurm:comment=a b", "'a b' is not a valid comment", ""),
    ],
)
def test_submit_parse_refuses_wrong_options(on: str, problem: str, remedy: str) -> None:
    with pytest.raises(UserError, match=problem) as refused:
        submit.parse(on)
    assert remedy in refused.value.remedy


@given(st.text(), st.sampled_from(sorted(submit.OPTIONS)))
def test_submit_parse_refuses_values_that_escape_their_argument(value: str, key: str) -> None:
    """A value must stay within its line of the batch script, where each line is an option, and its shell word."""
    try:
        options = submit.parse(f"slurm:{key}={value}")
    except UserError:
        return
    assert not set("".join(options.values())) & set(" \t\r\n\v\f\"'\\$`;<>#\0")


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("4:30", 4.5), ("4:00:00", 240), ("1-12", 2160), ("1-12:30", 2190), ("2-0:0:30", 2880.5)],
)
def test_submit_minutes_reads_time_limits_like_slurm(time: str, minutes: float) -> None:
    assert submit.minutes(time) == minutes


def test_submit_refuses_run_that_starts_others() -> None:
    with pytest.raises(UserError, match="starts other runs"):
        submit.refuse("slurm", config.build("study"))


def test_submit_refuses_without_slurm_before_run_is_created(
    runs: RunsFolder, tiny: Callable[..., DdpmRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="sbatch is not found"):
        submit.refuse("slurm", tiny())


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("7|PENDING|Priority|{}", RunState.queued),
        ("7|RUNNING|None|{}", RunState.queued),  # the run has logged nothing yet
        ("7|CANCELLED|None|{}", RunState.crashed),
        ("8|RUNNING|None|/elsewhere", RunState.crashed),
    ],
)
def test_status_follows_slurm_for_job_without_worker(
    answers: Answers, runs: RunsFolder, tiny: Callable[..., DdpmRun], line: str, state: RunState
) -> None:
    run = submitted(runs, tiny)
    answers(line.format(run.folder.resolve()))
    assert run.status().state is state


def test_status_of_remote_run_follows_slurm_then_heartbeat(
    answers: Answers, runs: RunsFolder, tiny: Callable[..., DdpmRun]
) -> None:
    run = submitted(runs, tiny)
    with (run.folder / "events.jsonl").open("wb") as log:
        log.write(events.encode(events.RunStarted(kind="ddpm", method="unet", device="cuda:0", time=time.time())))
    elsewhere = heartbeat.ProcessIdentity("node7", "a boot", 1, 1)
    heartbeat.write(run.folder, heartbeat.Worker(elsewhere, alive=time.time() - 90))
    answers(f"7|RUNNING|None|{run.folder.resolve()}")
    assert run.status().state is RunState.running, "a late heartbeat overrides Slurm"
    answers()
    assert run.status().state is RunState.crashed
    heartbeat.write(run.folder, heartbeat.Worker(elsewhere, alive=time.time()))
    assert run.status().state is RunState.running
    answers(f"7|NODE_FAIL|None|{run.folder.resolve()}")
    assert run.status().state is RunState.crashed
    assert "node of its job failed" in run.status().hint


def test_status_of_new_or_unanswered_job_is_queued(
    answers: Answers, runs: RunsFolder, tiny: Callable[..., DdpmRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers("8|RUNNING|None|/elsewhere")
    with monkeypatch.context() as patch:
        patch.setattr(slurm, "CLOCKS_SECONDS", 3600.0)
        assert submitted(runs, tiny).status().state is RunState.queued
    answers()
    assert submitted(runs, tiny).status().state is RunState.queued


def test_job_query_ignores_job_of_original_for_copied_run(
    answers: Answers, runs: RunsFolder, tiny: Callable[..., DdpmRun]
) -> None:
    run = submitted(runs, tiny)
    answers("7|RUNNING|None|/the/original")
    assert slurm.query(run.folder) is None
    assert not submit.cancel(run)


@pytest.mark.parametrize("number", ["7; rm -rf ~", "--me", "", "7\n", "٧", 7])
def test_job_read_ignores_invalid_job_number(tmp_path: Path, number: Any) -> None:
    import msgspec

    job = {"on": "slurm", "id": number, "submitted": 1.0}
    (tmp_path / slurm.JOB_FILE).write_bytes(msgspec.json.encode(job))
    assert slurm.read(tmp_path) is None


def test_slurm_queue_caches_squeue_answer(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "FRESH_SECONDS", 3600.0)
    answers("7|PENDING|None|x")
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n")
    for _ in range(20):
        slurm._queue_cache.get()
    assert (tmp_path / "calls").read_text().splitlines() == ["called"]


def test_slurm_job_requeues_and_resumes_at_time_limit(
    runs: RunsFolder, tiny: Callable[..., DdpmRun], until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use submitit's local executor, which requeues jobs like a cluster."""
    from submitit import LocalExecutor, LocalJob

    started: list[subprocess.Popen[bytes]] = []

    class Executor(LocalExecutor):
        def _submit_command(self, command: str) -> LocalJob[Any]:
            job: LocalJob[Any] = super()._submit_command(command)
            assert job._process is not None
            started.append(job._process)
            return job

    monkeypatch.setattr("submitit.SlurmExecutor", Executor)
    monkeypatch.setattr(submit, "refuse", lambda *_: None)
    run = runs.create(tiny(ddpm__epochs=5000, data__train_images=64, ddpm__samples=0))
    local.start(run, on="slurm")

    until(lambda: recorded(run, events.EpochFinished))
    assert local.send_signal(run, signal.SIGUSR2)
    until(lambda: recorded(run, events.RunResumed))
    local.request_stop(run)
    until(lambda: recorded(run, events.RunStopped))
    started[0].wait(timeout=PATIENCE_SECONDS)
    assert len(recorded(run, events.RunStarted)) == 1
    assert recorded(run, events.RunResumed)[0].from_step > 0
