"""Tests of the mirror: the worker's recorder writes it, TensorBoard's own reader reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.summary.writer import event_file_writer

from dipddpm.core import events
from dipddpm.core.config import DdpmRun
from dipddpm.core.errors import UserError
from dipddpm.core.export.mirror import refuse_mirror, request_mirror
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, Run, RunsFolder
from tests.core.export.test_tensorboard import accumulated, points


@pytest.fixture
def mirrored(runs: RunsFolder, tiny: Callable[..., DdpmRun]) -> Run:
    run = runs.create(tiny())
    assert request_mirror(run, "tensorboard") == run.folder / "tensorboard"
    return run


class Worker:
    """A worker's log and recorder without an experiment."""

    def __init__(self, run: Run) -> None:
        self.log = EventLog(run.folder)
        self.recorder = Recorder(run.folder, self.log)

    def record(self, *items: events.Item) -> None:
        for item in items:
            self.recorder.record(item)
        self.recorder.flush()

    def kill(self) -> None:
        """Close the log as a kill does; events that the mirror's writer still buffers are lost."""
        self.log.close()


def started() -> events.RunStarted:
    return events.RunStarted(kind="ddpm", method="tutorial", device="cpu", epochs=3, steps=30)


def epoch(number: int, loss: float) -> events.EpochFinished:
    return events.EpochFinished(epoch=number, step=10 * number, loss=loss)


def mirror_of(run: Run) -> Any:
    return accumulated(run.folder / "tensorboard")


def test_mirror_follows_log_during_run(mirrored: Run) -> None:
    worker = Worker(mirrored)
    picture = events.Pictures(name="samples", images=torch.zeros(4, 1, 28, 28), step=10)
    worker.record(started(), epoch(1, 0.5), picture, epoch(2, 0.25), events.RunFinished(seconds=1, step=20))
    read = mirror_of(mirrored)
    assert points(read, "loss/epoch") == [(10, 0.5), (20, 0.25)]
    assert [picture.step for picture in read.Images("images/samples")] == [10]
    log = {(event.step, event.time) for event in mirrored.events() if isinstance(event, events.EpochFinished)}
    assert {(point.step, point.wall_time) for point in read.Scalars("loss/epoch")} == log
    worker.kill()


def test_mirror_holds_each_event_once_after_resume(mirrored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # A counter in the names orders the event files of the same second.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
    first = Worker(mirrored)
    first.record(started(), epoch(1, 0.5))
    logged = first.log.size
    first.record(epoch(2, 9.0), epoch(3, 9.5))
    open_reader = mirror_of(mirrored)
    first.kill()

    second = Worker(mirrored)
    second.record(events.RunResumed(from_step=10, from_epoch=1, from_offset=logged))
    second.record(epoch(2, 0.25), epoch(3, 0.125), events.RunFinished(seconds=1, step=30))
    expected = [(10, 0.5), (20, 0.25), (30, 0.125)]
    assert points(mirror_of(mirrored), "loss/epoch") == expected
    open_reader.Reload()
    assert points(open_reader, "loss/epoch") == expected, "a reader that was open all along differs"
    second.kill()


def test_mirror_requested_later_holds_earlier_history(mirrored: Run) -> None:
    (mirrored.folder / "tensorboard").rmdir()
    first = Worker(mirrored)
    first.record(started(), epoch(1, 0.5), events.RunStopped(reason="asked to stop", step=10))
    logged = first.log.size
    first.kill()
    assert not (mirrored.folder / "tensorboard").exists(), "no mirror was requested"
    request_mirror(mirrored, "tensorboard")
    second = Worker(mirrored)
    second.record(
        events.RunResumed(from_step=10, from_offset=logged), epoch(2, 0.25), events.RunFinished(seconds=1, step=20)
    )
    assert points(mirror_of(mirrored), "loss/epoch") == [(10, 0.5), (20, 0.25)]
    second.kill()


@pytest.mark.parametrize("method", ["begin", "add"])
def test_mirror_failure_is_logged_and_run_continues(
    mirrored: Run, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dipddpm.core.export.tensorboard.EventFiles.{method}", fail)
    worker = Worker(mirrored)
    worker.record(started(), epoch(1, 0.5), epoch(2, 0.25), events.RunFinished(seconds=1, step=20))
    messages = [event for event in mirrored.events() if isinstance(event, events.Message)]
    assert [(event.level, "No space left" in event.text) for event in messages] == [("warning", True)]
    assert sum(isinstance(event, events.EpochFinished) for event in mirrored.events()) == 2
    worker.kill()


def test_mirror_ignores_symbolic_link_as_folder(mirrored: Run, tmp_path: Path) -> None:
    (mirrored.folder / "tensorboard").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (mirrored.folder / "tensorboard").symlink_to(tmp_path / "elsewhere")
    worker = Worker(mirrored)
    worker.record(started(), epoch(1, 0.5))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    worker.kill()


def test_refuse_mirror_names_format_it_cannot_mirror() -> None:
    with pytest.raises(UserError) as refused:
        refuse_mirror("wandb")
    assert refused.value.remedy == "Export the run once it has ended."
    with pytest.raises(UserError) as refused:
        refuse_mirror("tensorbord")
    assert "tensorboard" in refused.value.remedy
