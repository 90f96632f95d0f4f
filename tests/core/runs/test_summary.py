"""Tests of summary.json: a run's summary is the same with a valid file, without one, and with an invalid one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.io import records
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import (
    CONFIG_FILE,
    EVENTS_FILE,
    SUMMARY_FILE,
    EventLog,
    Run,
    RunState,
    Summary,
    heartbeat,
    summary,
)
from tests.helpers import this_process

steps = st.integers(0, 30)
numbers = st.floats(allow_nan=False, width=32)
any_event = st.one_of(
    st.builds(events.RunQueued, device=st.just("cpu")),
    st.builds(events.RunStarted, kind=st.just("ddpm"), method=st.just("m"), device=st.just("cpu"), steps=steps),
    st.builds(events.Step, step=steps, epoch=st.integers(0, 4), images_per_second=st.none() | numbers),
    st.builds(events.EpochFinished, epoch=st.integers(1, 4), step=steps, loss=numbers),
    st.builds(events.BestModelStored, step=steps, value=numbers, file=st.just("f"), sha256=st.just("0")),
    st.builds(events.PsnrMeasured, step=steps, psnr=st.just([1.0]), mean=numbers, loss=st.just([2.0])),
    st.builds(events.EarlyStopped, step=steps, image=st.integers(0, 3), at=steps, rule=st.just("ema"), psnr=numbers),
    st.builds(events.RunFinished, seconds=numbers, step=steps),
    st.builds(events.RunFailed, error=st.just("e"), hint=st.just("h"), step=steps),
    st.builds(events.RunStopped, reason=st.just("asked"), step=steps),
    st.builds(events.RunResumed, from_step=steps, from_offset=st.none() | st.integers(0, 2000)),
)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync, because these tests write hundreds of logs and none has to survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(configs.to_toml(configs.build("ddpm", settings={"name": "mine"})))
    return folder


@given(recorded=st.lists(any_event, max_size=25), data=st.data())
def test_summary_read_in_parts_equals_rebuild(
    tmp_path_factory: pytest.TempPathFactory, recorded: list[Event], data: st.DataObject
) -> None:
    folder = make(tmp_path_factory.mktemp("run") / "run")
    log = EventLog(folder)
    for event in recorded:
        log.append(event)
        match data.draw(st.sampled_from(["nothing", "read", "store"])):
            case "read":
                assert summary.read(folder) == summary.rebuild(folder)
            case "store":
                summary.write(folder, summary.read(folder))
    log.close()
    assert summary.read(folder) == summary.rebuild(folder)


@given(st.lists(any_event, max_size=25))
def test_recorder_summary_equals_rebuild(tmp_path_factory: pytest.TempPathFactory, recorded: list[Event]) -> None:
    folder = make(tmp_path_factory.mktemp("run") / "run")
    log = EventLog(folder)
    recorder = Recorder(folder, log)
    for event in recorded:
        recorder.record(event)
    recorder.flush()
    summary.write(folder, recorder.summary)
    log.close()
    assert recorder.summary == summary.rebuild(folder)
    assert summary.read(folder) == recorder.summary


def test_summary_read_has_progress_and_best(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    log = EventLog(folder)
    for event in [
        events.RunStarted(kind="ddpm", method="tutorial", device="cpu", epochs=4, steps=40, time=100.0),
        events.DataLoaded(dataset="fashion-mini", split="train", images=10, sha256="0"),
        events.Step(step=10, epoch=1, images_per_second=50.0),
        events.EpochFinished(epoch=1, step=10, loss=0.5, best=True),
        events.BestModelStored(step=10, value=0.5, file="checkpoints/best.safetensors", sha256="0", epoch=1),
        events.EpochFinished(epoch=2, step=20, loss=0.7, time=110.0),
    ]:
        log.append(event)
    log.close()
    read = summary.read(folder)
    assert (read.kind, read.method, read.name, read.dataset) == ("ddpm", "tutorial", "mine", "fashion-mini")
    assert (read.epoch, read.epochs, read.step, read.loss) == (2, 4, 20, 0.7)
    assert (read.best_loss, read.best_epoch, read.best_file) == (0.5, 1, "checkpoints/best.safetensors")
    assert (read.progress, read.percent) == (0.5, 50)
    assert read.seconds_left() == pytest.approx(10.0)


@pytest.mark.parametrize(("ended", "rebuilt"), [(False, True), (True, False)])
def test_summary_of_version_before_is_rebuilt_unless_finished(ended: bool, rebuilt: bool, tmp_path: Path) -> None:
    """Version 2 had no checkpoint; its files don't say their version."""
    folder = make(tmp_path / "run")
    log = EventLog(folder)
    log.append(events.CheckpointStored(step=5, epoch=1, file="f", sha256="0", time=9.0))
    if ended:
        log.append(events.RunFinished(seconds=1, step=5))
    size = log.size
    log.close()
    phase = "finished" if ended else "running"
    (folder / SUMMARY_FILE).write_text(f'{{"offset": {size}, "kind": "ddpm", "phase": "{phase}"}}')
    read = summary.read(folder)
    assert (read.checkpoint_step, read.checkpoint_epoch, read.checkpoint_time) == (
        (5, 1, 9.0) if rebuilt else (0, 0, 0)
    )


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x00" * 100,
        b"null",
        b"[]",
        b'{"offset": -5}',
        b'{"format": 99, "kind": "ddpm", "offset": 3}',
        b'{"kind": "ddpm", "offset": 999999999}',
        b'{"phase": "gone"}',
        b"[" * 100_000,
    ],
)
def test_summary_read_rebuilds_damaged_file(stored: bytes, tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    log = EventLog(folder)
    log.append(events.EpochFinished(epoch=1, step=10, loss=0.5))
    log.close()
    (folder / SUMMARY_FILE).write_bytes(stored)
    assert summary.read(folder) == summary.rebuild(folder)
    assert summary.read(folder).loss == 0.5


def test_status_does_not_hang_on_pipes(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    for name in (SUMMARY_FILE, heartbeat.WORKER_FILE, EVENTS_FILE):
        os.mkfifo(folder / name)
    assert Run(folder).status().summary.name == "mine"


HERE = this_process()
NOW = 1_000_000.0


def worker(alive: float = NOW, **other: Any) -> heartbeat.Worker:
    return heartbeat.Worker(msgspec.structs.replace(HERE, **other), alive=alive)


RUNNING = Summary(kind="ddpm", phase=RunState.running, last=NOW - 500)
QUEUED = Summary(kind="ddpm", phase=RunState.queued, last=NOW - 500)
UNBORN = Summary(kind="ddpm")
DONE = Summary(kind="ddpm", phase=RunState.finished, last=NOW - 500)


@pytest.mark.parametrize(
    ("folded", "named_worker", "created", "expected"),
    [
        # An end event decides, whether or not the worker still lives.
        (DONE, worker(), NOW, RunState.finished),
        (DONE, None, NOW, RunState.finished),
        (Summary(kind="ddpm", phase=RunState.stopped), worker(pid=1, start=-1), NOW, RunState.stopped),
        # The worker's own process lives.
        (RUNNING, worker(), NOW, RunState.running),
        (QUEUED, worker(), NOW, RunState.queued),
        (RUNNING, worker(alive=NOW - 10_000), NOW, RunState.running),
        # The process is gone: no such pid, or the pid of another process. The last update doesn't count.
        (RUNNING, worker(pid=2**22 + 1), NOW, RunState.crashed),
        (RUNNING, worker(pid=-1), NOW, RunState.crashed),
        (RUNNING, worker(start=HERE.start + 1), NOW, RunState.crashed),
        # A file of an older version has no PID namespace: the process may be this one or in a container.
        (RUNNING, worker(namespace="", alive=NOW - 10_000), NOW, RunState.running),
        (RUNNING, worker(namespace="", start=1), NOW, RunState.running),
        (RUNNING, worker(namespace="", start=1, alive=NOW - 61), NOW, RunState.crashed),
        # On another host, after another boot (or on a clone of this machine), in another PID namespace, and where the
        # start of the process could not be read, the age of the last update decides.
        (RUNNING, worker(boot="another"), NOW, RunState.running),
        (RUNNING, worker(boot="another", alive=NOW - 61), NOW, RunState.crashed),
        (QUEUED, worker(boot="another", alive=NOW - 61), NOW, RunState.crashed),
        (RUNNING, worker(namespace="pid:[1]"), NOW, RunState.running),
        (QUEUED, worker(namespace="pid:[1]", alive=NOW - 59), NOW, RunState.queued),
        (RUNNING, worker(namespace="pid:[1]", alive=NOW - 61), NOW, RunState.crashed),
        (RUNNING, worker(start=0, alive=NOW - 59), NOW, RunState.running),
        (RUNNING, worker(start=0, alive=NOW - 61), NOW, RunState.crashed),
        (RUNNING, worker(host="elsewhere"), NOW, RunState.running),
        (RUNNING, worker(host="elsewhere", alive=NOW - 59), NOW, RunState.running),
        (RUNNING, worker(host="elsewhere", alive=NOW - 61), NOW, RunState.crashed),
        (RUNNING, worker(host="elsewhere", alive=NOW + 30), NOW, RunState.running),
        # There is no worker yet: the run was created just now, long ago, or by a clock far ahead.
        (UNBORN, None, NOW - 5, RunState.queued),
        (UNBORN, None, NOW + 5, RunState.queued),
        (UNBORN, None, NOW + 600, RunState.queued),
        (UNBORN, None, NOW - 61, RunState.crashed),
        (UNBORN, None, NOW + 3600, RunState.crashed),
        (RUNNING, None, NOW, RunState.crashed),
        # There is no config.
        (Summary(), worker(), NOW, RunState.broken),
    ],
)
def test_summary_state_is_decided_in_order(
    folded: Summary, named_worker: heartbeat.Worker | None, created: float, expected: RunState
) -> None:
    assert summary.state(folded, named_worker, created, now=NOW) is expected


def test_summary_state_ignores_worker_update_from_future() -> None:
    assert summary.state(RUNNING, worker(host="elsewhere", alive=NOW + 3e7), NOW, now=NOW) is RunState.crashed


@given(
    step=st.integers(-(10**30), 10**30),
    steps=st.integers(-(10**30), 10**30),
    times=st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 3),
)
def test_summary_progress_survives_any_numbers(step: int, steps: int, times: tuple[float, float, float]) -> None:
    folded = Summary(kind="ddpm", phase=RunState.running, step=step, steps=steps, started=times[0], last=times[1])
    assert folded.progress is None or 0 <= folded.progress <= 1
    left = folded.seconds_left(times[2])
    assert left is None or left >= 0 or math.isnan(left)


def test_summary_psnr_prefers_averaged_output() -> None:
    folded = Summary()
    folded.fold(events.PsnrMeasured(step=10, psnr=[20.0, 22.0], mean=21.0))
    assert (folded.psnr, folded.peak_psnr) == (21.0, 21.0)
    folded.fold(events.PsnrMeasured(step=20, psnr=[18.0, 20.0], mean=19.0, averaged=[24.0, 26.0]))
    assert (folded.psnr, folded.peak_psnr, folded.peak_step) == (25.0, 25.0, 20)


def test_summary_rebuild_includes_resume_written_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "run")
    log = EventLog(folder)
    checkpoint_offset = log.size
    log.append(events.EpochFinished(epoch=1, step=10, loss=0.5))
    log.append(events.RunResumed(from_step=0, from_offset=checkpoint_offset))
    log.close()
    original = summary._resumes
    first_answer: Iterator[list[events.RunResumed]] = iter([[]])
    monkeypatch.setattr(summary, "_resumes", lambda folder: next(first_answer, None) or original(folder))
    assert summary.rebuild(folder).loss is None


@pytest.mark.parametrize(
    ("step", "percent"), [(0, 0), (29, 29), (998, 99), (1_000, 100)], ids=["none", "exact", "nearly all", "all"]
)
def test_percent_is_rounded_down(step: int, percent: int) -> None:
    steps = 100 if step == 29 else 1_000
    assert summary.Summary(step=step, steps=steps).percent == percent


def test_means_leave_out_exact_images_and_count_them() -> None:
    folded = Summary(kind="dip")
    folded.fold(events.PsnrMeasured(step=10, psnr=[50.0, 22.0], mean=36.0))
    folded.fold(events.PsnrMeasured(step=20, psnr=[math.inf, 22.5], mean=math.inf))  # as older logs have it
    assert (folded.exact, folded.psnr) == (1, 22.5)
    assert (folded.peak_exact, folded.peak_psnr, folded.peak_step) == (1, 22.5, 20)
    for image, psnr in enumerate([math.inf, 20.0, 21.0]):
        folded.fold(events.EarlyStopped(step=30, image=image, at=25, rule="ema", psnr=psnr))
    assert folded.result == (1, 20.5)
    folded.fold(events.RestorationsCompared(method="guided", psnr=25.0, cells=1, exact=3, step=40))
    assert (folded.exact, folded.psnr) == (3, 25.0)
    assert records.load(records.dump(folded), Summary) == folded
