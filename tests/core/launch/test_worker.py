"""Tests of workers as real processes: they finish, stop, report failures, and resume exactly after a kill."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.compute import checkpoint
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModelStored, EpochFinished, RunFailed, RunResumed, RunStopped
from dipddpm.core.launch import local, queue
from dipddpm.core.launch.failure import explain
from dipddpm.core.runs import ENVIRONMENT_FILE, LOG_FILE, Run, RunsFolder, RunState, heartbeat, summary
from dipddpm.core.runs.environment import python_module
from dipddpm.core.runs.log import LockedError
from tests.helpers import PATIENCE_SECONDS, Build, Until, recorded


def epochs(run: Run) -> list[tuple[int, int, float, bool]]:
    """Return the epochs of the logical history with their exact losses."""
    return [(e.epoch, e.step, e.loss, e.best) for e in run.events() if isinstance(e, EpochFinished)]


def bests(run: Run) -> list[tuple[int, float | None, str]]:
    return [(e.epoch, e.value, e.sha256) for e in run.events() if isinstance(e, BestModelStored)]


def has_ended(run: Run) -> bool:
    worker = heartbeat.read(run.folder)
    return worker is not None and not heartbeat.is_alive(worker)


@pytest.fixture
def slot() -> queue.Slot:
    """Return the CPU's only slot, so that a started run waits until the test releases it."""
    slot = queue.acquire("another run", ["cpu"])
    assert slot is not None
    return slot


def test_worker_finishes_run_with_all_files(finished: Run) -> None:
    assert finished.status().state is RunState.finished
    assert (finished.folder / LOG_FILE).read_text() == ""
    assert [epoch for epoch, *_ in epochs(finished)] == [1, 2, 3, 4]
    kinds = [type(event) for event in finished.events()]
    assert kinds[:2] == [events.RunQueued, events.RunStarted]
    assert kinds[-2:] == [events.CheckpointStored, events.RunFinished]
    environment = json.loads((finished.folder / ENVIRONMENT_FILE).read_text())
    assert environment["device"] == "cpu"
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    saved = [event.file for event in finished.events() if isinstance(event, events.ImageSaved)]
    assert saved
    assert all((finished.folder / name).is_file() for name in saved)
    assert list(finished.folder.rglob("*.tmp")) == []


def test_worker_best_model_file_matches_log(finished: Run) -> None:
    best = bests(finished)[-1]
    path = finished.folder / finished.status().summary.best_file
    assert checkpoint.digest(path) == best[2]
    assert best[1] == min(loss for _, _, loss, _ in epochs(finished))
    assert [epoch for epoch, *_ in bests(finished)] == [epoch for epoch, _, _, best in epochs(finished) if best]
    with torch.no_grad():
        assert checkpoint.load(path)(torch.zeros(1, 1, 28, 28), torch.tensor([5])).shape == (1, 1, 28, 28)


def test_worker_summary_file_matches_log(finished: Run) -> None:
    assert summary.read(finished.folder) == summary.rebuild(finished.folder)


def test_copied_run_folder_reads_same(finished: Run, tmp_path: Path) -> None:
    copied = Run(Path(shutil.copytree(finished.folder, tmp_path / "copied")))
    assert copied.status().state is RunState.finished
    assert epochs(copied) == epochs(finished)


def stopped_midway(runs: RunsFolder, tiny: Build, until: Until) -> Run:
    """Return a run that was stopped after an epoch; one that ended before it saw the request is made again."""
    for _ in range(20):
        run = runs.create(tiny())
        local.start(run)
        until(lambda: recorded(run, EpochFinished))  # noqa: B023
        hung_up = local.send_signal(run, signal.SIGHUP)
        with contextlib.suppress(UserError):
            if local.stop(run, request=PATIENCE_SECONDS) is RunState.stopped:
                assert hung_up, "a closed terminal must not end the worker"
                return run
        assert run.status().state is RunState.finished
    raise AssertionError("every run ended before it could be stopped")


def test_worker_resumes_exactly_after_stop(
    finished: Run, runs: RunsFolder, tiny: Build, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ENDING_SECONDS", PATIENCE_SECONDS)
    run = stopped_midway(runs, tiny, until)
    stopped = recorded(run, RunStopped)
    assert [event.reason for event in stopped] == ["asked to stop"]
    with pytest.raises(UserError, match="not running"):
        local.request_stop(run)
    local.resume(run)  # the old process may still be ending
    with pytest.raises(UserError, match="already"):
        local.resume(run)
    until(lambda: recorded(run, RunResumed))
    assert recorded(run, RunResumed)[0].from_step == stopped[0].step
    until(lambda: not run.status().state.live)
    assert epochs(run) == epochs(finished)
    with pytest.raises(UserError, match="is finished"):
        local.resume(run)


def test_worker_stops_on_sigterm_and_refuses_second_worker(
    runs: RunsFolder, tiny: Build, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.create(tiny(ddpm__epochs=500))
    local.start(run)
    until(lambda: recorded(run, EpochFinished))
    with pytest.raises(UserError, match="already running"):
        local.start(run)
    first = heartbeat.read(run.folder)
    assert first is not None
    with monkeypatch.context() as patch:  # a second caller that checks at the same moment
        patch.setattr(local, "find_process", lambda run: "")
        with pytest.raises(LockedError, match="Another process works on"):
            local.start(run, resume=True, now=True)
    command = python_module("dipddpm.core.launch.worker", str(run.folder))
    second = subprocess.run([*command, "--resume", "--now"], capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "Another process works on" in second.stderr
    last = heartbeat.read(run.folder)
    assert last is not None
    assert last.identity == first.identity, "the second worker has replaced the worker file"
    assert run.status().state is RunState.running
    assert not recorded(run, RunResumed)
    assert local.send_signal(run, signal.SIGTERM)
    until(lambda: has_ended(run))
    assert run.status().state is RunState.stopped
    stored, stopped = run.events()[-2:]
    assert isinstance(stored, events.CheckpointStored)
    assert isinstance(stopped, RunStopped)
    assert (stopped.reason, stopped.step) == ("SIGTERM", stored.step)
    assert checkpoint.load_state(run.folder / stored.file)["step"] == stored.step


def test_worker_killed_before_start_begins_on_resume(
    runs: RunsFolder, tiny: Build, until: Until, slot: queue.Slot
) -> None:
    run = runs.create(tiny(ddpm__epochs=1, data__train_images=64))
    local.start(run)
    until(lambda: recorded(run, events.RunQueued))
    local.send_signal(run, signal.SIGKILL)
    until(lambda: has_ended(run))
    assert run.status().state is RunState.crashed
    slot.release()
    local.resume(run)
    until(lambda: not run.status().state.live)
    assert run.status().summary.progress == 1.0
    assert run.status().summary.epochs == 1
    assert [epoch for epoch, *_ in epochs(run)] == [1]


def test_worker_reports_missing_data(runs: RunsFolder, tiny: Build, tmp_path: Path, until: Until) -> None:
    run = runs.create(tiny(data__dataset=f"folder:{tmp_path / 'gone'}"))
    local.start(run)
    until(lambda: not run.status().state.live)
    (failed,) = recorded(run, RunFailed)
    assert str(tmp_path / "gone") in failed.error
    assert failed.hint
    assert "Traceback" not in (run.folder / LOG_FILE).read_text()
    assert local._children[-1].wait() == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 18 MB, enough for two best models (2 MB each) and two checkpoints (6 MB each)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=18m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_worker_reports_full_disk_with_best_model_intact(small_disk: Path, tiny: Build, until: Until) -> None:
    run = RunsFolder(small_disk).create(tiny(ddpm__epochs=500))
    local.start(run)
    until(lambda: recorded(run, BestModelStored))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"\0" * 4096)
    until(lambda: has_ended(run))
    (failed,) = recorded(run, RunFailed)
    assert failed.error == "The disk is full."
    assert "resume" in failed.hint
    assert run.status().state is RunState.failed
    assert checkpoint.digest(run.folder / "checkpoints" / "best.safetensors") in {sha for *_, sha in bests(run)}
    filler.unlink()


def test_seconds_of_a_run_leave_out_the_queue(runs: RunsFolder, tiny: Build, until: Until, slot: queue.Slot) -> None:
    run = runs.create(tiny(ddpm__epochs=1, data__train_images=64))
    local.start(run)
    until(lambda: recorded(run, events.RunQueued))
    time.sleep(2)
    released = time.time()
    slot.release()
    until(lambda: has_ended(run))
    (finished,) = recorded(run, events.RunFinished)
    assert 0 < finished.seconds < finished.time - released + 1


def test_worker_ends_when_run_folder_vanishes(runs: RunsFolder, tiny: Build, until: Until, tmp_path: Path) -> None:
    run = runs.create(tiny(ddpm__epochs=500, data__train_images=64))
    local.start(run)
    until(lambda: recorded(run, EpochFinished))
    runs.root.rename(tmp_path / "moved")  # at once, whatever the worker writes meanwhile
    shutil.rmtree(tmp_path / "moved")
    assert local._children[-1].wait(timeout=PATIENCE_SECONDS) == 1
    assert not runs.root.exists(), "the worker has created the folder again"


def test_worker_reports_file_size_limit(runs: RunsFolder, tiny: Build, until: Until, slot: queue.Slot) -> None:
    run = runs.create(tiny())
    local.start(run)
    worker = until(lambda: heartbeat.read(run.folder))
    resource.prlimit(worker.identity.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    slot.release()
    until(lambda: has_ended(run))
    (failed,) = recorded(run, RunFailed)
    assert failed.error == "A file would become larger than this shell or disk allows."
    assert "ulimit -f" in failed.hint
    assert not (run.folder / "checkpoints" / "best.safetensors").exists()
    assert list(run.folder.rglob("*.tmp")) == []


LOWER = {
    "ddpm": "Lower ddpm.batch_size from 128 to 64.",
    "dip": "Lower dip.batch from 10 to 5.",
    "hybrid": "Restore 5 images at a time instead of 10.",
    "restore": "Lower restore.images from 50 to 25.",
    "explanation": "Lower explanation.train_images from 640 to 320.",
}


@pytest.mark.parametrize("kind", LOWER)
def test_explain_gives_hint_for_memory_error(kind: str) -> None:
    with pytest.raises(RuntimeError) as host:
        torch.empty(2**50)
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    for error in (host.value, gpu, MemoryError()):
        assert explain(error, configs.build(kind)) == ("The device ran out of memory.", LOWER[kind])


def test_lower_memory_omits_options_at_their_minimum() -> None:
    smallest: dict[str, dict[str, Any]] = {
        "ddpm": {"ddpm.batch_size": 1},
        "hybrid": {"images.indices": "3"},
        "dip": {"images.indices": "3", "dip.channels": 1},
        "explanation": {"explanation.train_images": 40},
    }
    for kind, settings in smallest.items():
        assert configs.lower_memory(configs.build(kind, settings=settings)) == "Choose a smaller network."
    alone = configs.build("dip", settings={"dip.batch": 1, "dip.channels": 32})
    assert configs.lower_memory(alone) == "Lower dip.channels from 32 to 16."
    trained = configs.build("hybrid", settings={"prior.run": ""})
    assert configs.lower_memory(trained) == "Lower ddpm.batch_size from 128 to 64."


def test_explain_names_unexpected_error(tiny: Build) -> None:
    problem, hint = explain(ZeroDivisionError("division by zero\nand more"), tiny())
    assert problem == "ZeroDivisionError: division by zero"
    assert "worker.log" in hint
