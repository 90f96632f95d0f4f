"""Tests of starting, queueing, signalling and stopping workers."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local, queue
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat
from dipddpm.core.runs.environment import torch_cache
from tests.helpers import PATIENCE_SECONDS, Build, Until, recorded, this_process


def test_local_start_queues_second_run_unless_now(runs: RunsFolder, tiny: Build, until: Until) -> None:
    slot = queue.acquire("another run", ["cpu"])
    assert slot is not None
    waiting, immediate = (runs.create(tiny(ddpm__epochs=1, data__train_images=64)) for _ in range(2))
    local.start(waiting)
    until(lambda: [ticket.run for _, ticket in queue.waiting()] == [waiting.id])
    until(lambda: [event.ahead for event in recorded(waiting, events.RunQueued)] == [0, 1])
    assert waiting.status().state is RunState.queued
    worker = heartbeat.read(waiting.folder)
    assert worker is not None
    maps = Path(f"/proc/{worker.identity.pid}/maps").read_text()
    assert "libtorch" not in maps, "a waiting worker has loaded torch"
    local.start(immediate, now=True)
    until(lambda: immediate.status().state is RunState.finished)
    assert waiting.status().state is RunState.queued
    slot.release()
    until(lambda: waiting.status().state is RunState.finished)
    assert queue.waiting() == []


def test_local_stop_ends_waiting_run_that_can_be_resumed(runs: RunsFolder, tiny: Build, until: Until) -> None:
    slot = queue.acquire("another run", ["cpu"])
    assert slot is not None
    run = runs.create(tiny(ddpm__epochs=1, data__train_images=64))
    local.start(run)
    # Perhaps before the worker's first check of the queue.
    assert local.stop(run, request=PATIENCE_SECONDS) is RunState.stopped
    assert queue.waiting() == []
    slot.release()
    local.resume(run)
    until(lambda: run.status().state is RunState.finished)


def test_local_stop_kills_worker_that_ignores_signals(runs: RunsFolder, tiny: Build) -> None:
    """Stop a process that ignores the request and SIGTERM, and ends only on SIGKILL."""
    run = runs.create(tiny())
    unresponsive = subprocess.Popen(
        [sys.executable, "-c", "import signal;signal.signal(15,signal.SIG_IGN);print(flush=True);signal.pause()"],
        stdout=subprocess.PIPE,
    )
    assert unresponsive.stdout is not None
    unresponsive.stdout.readline()
    identity = heartbeat.process_identity(unresponsive.pid)
    assert identity is not None
    heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time()))
    assert run.status().state.live
    assert local.stop(run, request=0.2, term=0.2) is RunState.crashed
    assert unresponsive.wait() == -signal.SIGKILL
    unresponsive.stdout.close()


@pytest.mark.parametrize(
    "change",
    [{"start": 1}, {"boot": "another"}, {"host": "elsewhere"}, {"namespace": "pid:[1]"}, {"start": 0}],
)
def test_send_signal_skips_process_that_is_not_worker(change: dict[str, Any], runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny())
    other = subprocess.Popen([sys.executable, "-c", "import sys;sys.stdin.read()"], stdin=subprocess.PIPE)
    identity = heartbeat.process_identity(other.pid)
    assert identity is not None
    heartbeat.write(run.folder, heartbeat.Worker(msgspec.structs.replace(identity, **change), alive=time.time()))
    assert not local.send_signal(run, signal.SIGKILL)
    assert other.poll() is None
    other.communicate()


def test_copy_of_live_run_is_not_live_and_cannot_stop_it(runs: RunsFolder, tiny: Build, tmp_path: Path) -> None:
    run = runs.create(tiny())
    other = subprocess.Popen([sys.executable, "-c", "import sys;sys.stdin.read()"], stdin=subprocess.PIPE)
    identity = heartbeat.process_identity(other.pid)
    assert identity is not None
    heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time()))
    (run.folder / "events.jsonl").write_bytes(events.encode(events.RunQueued(device="cpu")))
    copied = Run(Path(shutil.copytree(run.folder, runs.root / "20261123-000000-ddpm-c0de")))
    assert (run.status().state, copied.status().state) == (RunState.queued, RunState.crashed)
    assert not local.send_signal(copied, signal.SIGKILL)
    with pytest.raises(UserError, match="not running"):
        local.stop(copied)
    moved = Run(run.folder.rename(tmp_path / "moved"))
    assert moved.status().state is RunState.queued
    other.communicate()


def test_status_of_run_from_another_host_follows_heartbeat(runs: RunsFolder, tiny: Build) -> None:
    """Ignore the inode in the worker file, which belongs to another file system."""
    run = runs.create(tiny())
    identity = heartbeat.ProcessIdentity("elsewhere", "boot", 1, 2)
    stamp = {"identity": msgspec.to_builtins(identity), "alive": time.time(), "inode": 1}
    (run.folder / heartbeat.WORKER_FILE).write_bytes(msgspec.json.encode(stamp))
    assert heartbeat.read(run.folder) == heartbeat.Worker(identity, alive=stamp["alive"])
    assert run.status().state is RunState.queued
    assert not local.send_signal(run, signal.SIGKILL)


def test_local_resume_refuses_run_without_its_checkpoint(runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny())
    logged = (
        events.RunStarted(kind="ddpm", method="tutorial", device="cpu"),
        events.CheckpointStored(step=2, file="checkpoints/last.safetensors", sha256="0"),
        events.RunStopped(reason="asked to stop"),
    )
    (run.folder / "events.jsonl").write_bytes(b"".join(map(events.encode, logged)))
    with pytest.raises(UserError, match="no longer has its last checkpoint"):
        local.resume(run)
    assert run.status().state is RunState.stopped


def test_status_of_crashed_run_hints_at_remedy(runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny())
    (run.folder / "events.jsonl").write_bytes(events.encode(events.RunQueued(device="cpu")))
    own_identity = this_process()
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    remedy = "ddpm.batch_size from 128 to 64"
    cases: list[tuple[dict[str, Any], float, str]] = [
        ({"start": 1}, time.time(), remedy),
        ({"boot": "another"}, booted - 60, "restarted"),
        ({"boot": "a clone's"}, min(booted + 60, time.time() - 61), remedy if booted + 120 < time.time() else ""),
    ]
    for change, alive, words in cases:
        heartbeat.write(run.folder, heartbeat.Worker(msgspec.structs.replace(own_identity, **change), alive=alive))
        status = run.status()
        assert status.state is RunState.crashed
        assert words in status.hint
        assert "resume" in status.hint


def test_process_identity_is_none_for_zombie() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert heartbeat.process_identity(child) is None
    os.waitpid(child, 0)


def test_runs_root_follows_option_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local.runs_root(Path("option")) == tmp_path / "option"
    monkeypatch.setenv("DIPDDPM_RUNS", "~/variable")
    assert local.runs_root(None) == Path.home() / "variable"
    monkeypatch.setenv("DIPDDPM_RUNS", "")
    assert local.runs_root(None) == tmp_path / "runs"


def test_stop_all_stops_every_live_run(
    runs: RunsFolder, tiny: Build, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "REQUEST_SECONDS", PATIENCE_SECONDS)
    assert queue.acquire("another run", ["cpu"]) is not None
    ended, *waiting = (runs.create(tiny(ddpm__epochs=1, data__train_images=64, seed=seed)) for seed in range(3))
    local.start(ended)
    assert local.stop(ended, request=PATIENCE_SECONDS) is RunState.stopped
    for run in waiting:
        local.start(run)
    until(lambda: len(queue.waiting()) == 2)
    assert [ticket.run for _, ticket in queue.waiting()] == [run.id for run in waiting], "the order of starting is lost"
    assert local.stop_all([ended, *waiting]) == waiting
    assert {run.status().state for run in waiting} == {RunState.stopped}
    assert queue.waiting() == []
    assert local.stop_all(waiting) == []


def test_local_start_deletes_new_run_that_full_disk_refuses(
    runs: RunsFolder, tiny: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("dipddpm.core.io.output.probe", full)
    new, old = (runs.create(tiny()) for _ in range(2))
    gone = msgspec.structs.replace(this_process(), start=1)
    heartbeat.write(old.folder, heartbeat.Worker(gone, alive=time.time()))
    for run, resume in ((new, False), (old, True)):
        with pytest.raises(UserError, match=f"{run.id} can't be started: No space left.* Free some space"):
            local.start(run, resume=resume)
    assert [run.id for run in runs.runs()] == [old.id]


def test_crash_on_full_disk_is_explained(runs: RunsFolder, tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.create(tiny())
    gone = msgspec.structs.replace(this_process(), start=1)
    heartbeat.write(run.folder, heartbeat.Worker(gone, alive=time.time()))
    assert run.status().state is RunState.crashed
    assert "killed" in run.status().hint
    monkeypatch.setattr("dipddpm.core.io.output.is_full", lambda folder: folder == run.folder)
    assert "disk of the run is full" in run.status().hint


def test_torch_cache_moves_out_of_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert torch_cache(tmp_path / "run") == {}
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # Python's last choice if the other folders are full
    assert torch_cache(tmp_path / "run") == {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "run" / "torchinductor")}
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/chosen")
    assert torch_cache(tmp_path / "run") == {}
