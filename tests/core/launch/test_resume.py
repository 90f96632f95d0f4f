"""Tests of resuming: the last checkpoint, and the model that was the best at that time."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    BestModel,
    BestModelStored,
    CheckpointStored,
    EpochFinished,
    Event,
    Item,
    Message,
    RunStarted,
    Step,
)
from dipddpm.core.launch.recorder import BEST_BEFORE, Recorder, load_checkpoint
from dipddpm.core.runs import BEST_FILE, CHECKPOINT_FILE, EventLog, EventReader, history


class CountingExperiment:
    """An experiment that only counts steps."""

    network = None
    epoch = 0
    inputs = ()

    def __init__(self) -> None:
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: Any) -> None:
        self.step = state["step"]

    def __iter__(self) -> Iterator[Item]:
        return iter(())

    def started(self) -> RunStarted:
        return RunStarted(kind="dip", method="skip", device="cpu")


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    (tmp_path / "checkpoints").mkdir()
    log = EventLog(tmp_path)
    yield Recorder(tmp_path, log)
    log.close()


def best_model(step: int) -> BestModel:
    return BestModel(network=None, step=step, value=1 / step, tensors={"weights": torch.tensor([float(step)])})


def logged_bests(folder: Path) -> list[tuple[int, str]]:
    """Return the best models of the logical history."""
    recorded = history(EventReader(folder).read())
    return [(event.step, event.sha256) for event in recorded if isinstance(event, BestModelStored)]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_resume_restores_best_model_of_checkpoint(
    links: bool, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("this file system has no links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    folder, counting = recorder.folder, CountingExperiment()
    recorder.record(best_model(1))
    counting.step = 1
    recorder.checkpoint(counting)
    for step in (2, 3):
        recorder.record(best_model(step))
        recorder.record(Message(text=f"better at {step}"))
        recorder.flush()
    assert logged_bests(folder)[-1] == (3, checkpoint.digest(folder / BEST_FILE))

    resumed = CountingExperiment()
    Recorder(folder, recorder.log).resume_from_checkpoint(resumed)
    assert resumed.step == 1
    assert logged_bests(folder) == [(1, checkpoint.digest(folder / BEST_FILE))]
    assert not [e for e in history(EventReader(folder).read()) if isinstance(e, Message)], (
        "messages after the checkpoint are not void"
    )
    assert checkpoint.load_state(folder / BEST_FILE)["weights"].item() == 1.0
    assert not (folder / BEST_BEFORE).exists()


def test_recorder_checkpoint_removes_previous_best_model(recorder: Recorder) -> None:
    folder, counting = recorder.folder, CountingExperiment()
    recorder.record(best_model(1))
    recorder.checkpoint(counting)
    recorder.record(best_model(2))
    recorder.flush()
    assert (folder / BEST_BEFORE).exists()
    counting.step = 2
    recorder.checkpoint(counting)
    assert not (folder / BEST_BEFORE).exists()
    Recorder(folder, recorder.log).resume_from_checkpoint(CountingExperiment())
    assert logged_bests(folder)[-1] == (2, checkpoint.digest(folder / BEST_FILE))


def test_resume_before_first_checkpoint_starts_from_the_beginning(recorder: Recorder) -> None:
    recorder.record(best_model(1))
    recorder.flush()
    Recorder(recorder.folder, recorder.log).resume_from_checkpoint(counting := CountingExperiment())
    assert counting.step == 0
    assert logged_bests(recorder.folder) == []


def test_load_checkpoint_returns_offset_of_its_line(recorder: Recorder, tmp_path: Path) -> None:
    """An extended run has a log of its own, with other offsets."""
    recorder.record(Message(text="x" * 500))
    recorder.checkpoint(CountingExperiment())
    new = tmp_path / "longer"
    (new / "checkpoints").mkdir(parents=True)
    (new / CHECKPOINT_FILE).write_bytes((recorder.folder / CHECKPOINT_FILE).read_bytes())
    log = EventLog(new)
    line = log.append(EventReader(recorder.folder).read()[-1]).offset
    log.append(Message(text="after the checkpoint"))
    log.close()
    assert line == 0
    assert load_checkpoint(new, CountingExperiment(), torch.device("cpu")) == (line, [])


def test_load_checkpoint_refuses_another_version(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipddpm.core.launch.recorder.FORMAT", 1)
    recorder.checkpoint(CountingExperiment())
    monkeypatch.undo()
    with pytest.raises(UserError, match="stored by another version"):
        recorder.resume_from_checkpoint(CountingExperiment())


def test_resume_refuses_damaged_checkpoint(recorder: Recorder) -> None:
    recorder.checkpoint(CountingExperiment())
    path = recorder.folder / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a complete checkpoint"):
        recorder.resume_from_checkpoint(CountingExperiment())


class Killed(BaseException):
    """Raised in place of a kill."""


def finish_epoch(recorder: Recorder, counting: CountingExperiment, epoch: int) -> None:
    """Record the end of an epoch of one step, up to its `Step`."""
    counting.step = counting.epoch = epoch
    recorder.record(best_model(epoch))
    recorder.record(EpochFinished(epoch=epoch, step=epoch, loss=1 / epoch, best=True))
    recorder.record(Message(text=f"after epoch {epoch}"))
    recorder.record(Step(step=epoch, epoch=epoch))


def without_clock(recorded: list[Event]) -> list[tuple[str, int]]:
    """Return the kind and the step of each event that doesn't depend on kills and the clock."""
    kept = (BestModelStored, EpochFinished, Message)
    return [(type(event).__name__, getattr(event, "step", 0)) for event in recorded if isinstance(event, kept)]


def test_end_of_epoch_is_logged_once_a_checkpoint_holds_it(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipddpm.core.launch.recorder.STEP_SECONDS", 0.0)
    finish_epoch(recorder, CountingExperiment(), 1)
    assert EventReader(recorder.folder).read() == []
    assert not (recorder.folder / BEST_FILE).exists()
    recorder.checkpoint(CountingExperiment())
    names = [type(event).__name__ for event in EventReader(recorder.folder).read()]
    assert names == ["BestModelStored", "EpochFinished", "Message", "Step", "CheckpointStored"]


def test_end_of_epoch_without_checkpoint_is_logged_in_order(recorder: Recorder) -> None:
    finish_epoch(recorder, CountingExperiment(), 1)
    recorder.flush()
    recorder.flush()
    assert without_clock(EventReader(recorder.folder).read()) == [
        ("BestModelStored", 1),
        ("EpochFinished", 1),
        ("Message", 0),
    ]
    recorder.record(Message(text="later"))
    assert [event for event in EventReader(recorder.folder).read() if getattr(event, "text", "") == "later"]


@pytest.mark.parametrize("appended", range(6))
def test_kill_while_epoch_is_logged_loses_no_epoch(
    appended: int, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill the process at each line that follows the checkpoint of epoch 2; the checkpoint itself is on disk."""
    monkeypatch.setattr("dipddpm.core.launch.recorder.STEP_SECONDS", 0.0)
    folder, counting, append = recorder.folder, CountingExperiment(), EventLog.append
    finish_epoch(recorder, counting, 1)
    recorder.checkpoint(counting)
    finish_epoch(recorder, counting, 2)
    left = [appended]

    def append_few(log: EventLog, event: Event) -> Event:
        if not left[0]:
            raise Killed
        left[0] -= 1
        return append(log, event)

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", append_few)
        if appended < 5:
            with pytest.raises(Killed):
                recorder.checkpoint(counting)
        else:
            recorder.checkpoint(counting)
    resumed = CountingExperiment()
    later = Recorder(folder, recorder.log)
    later.resume_from_checkpoint(resumed)
    assert resumed.step == 2
    assert without_clock(history(EventReader(folder).read())) == [
        (name, step)
        for epoch in (1, 2)
        for name, step in (("BestModelStored", epoch), ("EpochFinished", epoch), ("Message", 0))
    ]
    assert logged_bests(folder)[-1] == (2, checkpoint.digest(folder / BEST_FILE))
    assert not (folder / BEST_BEFORE).exists()
    finish_epoch(later, resumed, 3)
    later.checkpoint(resumed)
    assert [step for step, _ in logged_bests(folder)] == [1, 2, 3]


def test_kill_before_checkpoint_of_epoch_shows_no_such_epoch(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best model is stored before the checkpoint; a resume restores the one before."""

    def kill(*_: object) -> None:
        raise Killed

    folder, counting = recorder.folder, CountingExperiment()
    finish_epoch(recorder, counting, 1)
    recorder.checkpoint(counting)
    finish_epoch(recorder, counting, 2)
    with monkeypatch.context() as patch:
        patch.setattr(CountingExperiment, "state_dict", kill)
        patch.setattr(EventLog, "append", kill)
        with pytest.raises(Killed):
            recorder.checkpoint(counting)
    assert [event.epoch for event in EventReader(folder).read() if isinstance(event, EpochFinished)] == [1]
    resumed = CountingExperiment()
    Recorder(folder, recorder.log).resume_from_checkpoint(resumed)
    assert resumed.step == 1
    assert logged_bests(folder) == [(1, checkpoint.digest(folder / BEST_FILE))]


def test_checkpoint_that_fails_logs_what_was_held(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    counting = CountingExperiment()
    finish_epoch(recorder, counting, 1)
    monkeypatch.setattr(CountingExperiment, "state_dict", full)
    with pytest.raises(OSError, match="No space left"):
        recorder.checkpoint(counting)
    assert len(logged_bests(recorder.folder)) == 1


def test_full_disk_is_warning_while_earlier_checkpoint_is_intact(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    counting = CountingExperiment()
    with monkeypatch.context() as patch:
        patch.setattr(CountingExperiment, "state_dict", full)
        with pytest.raises(OSError, match="quota"):
            recorder.checkpoint(counting, required=False)  # there is no earlier one
    finish_epoch(recorder, counting, 1)
    recorder.checkpoint(counting)
    with monkeypatch.context() as patch:
        patch.setattr(CountingExperiment, "state_dict", full)
        for epoch in (2, 3):
            finish_epoch(recorder, counting, epoch)
            recorder.checkpoint(counting, required=False)
        with pytest.raises(OSError, match="quota"):
            recorder.checkpoint(counting)
    warnings = [e.text for e in EventReader(recorder.folder).read() if isinstance(e, Message) and e.level == "warning"]
    assert len(warnings) == 1
    assert "quota" in warnings[0]
    assert "step 2" in warnings[0]
    assert [step for step, _ in logged_bests(recorder.folder)] == [1, 2, 3]
    Recorder(recorder.folder, recorder.log).resume_from_checkpoint(resumed := CountingExperiment())
    assert resumed.step == 1
    assert logged_bests(recorder.folder) == [(1, checkpoint.digest(recorder.folder / BEST_FILE))]


def test_checkpoint_logs_its_seconds(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100, 200))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    assert recorder.checkpoint(CountingExperiment()) > 0
    (stored,) = EventReader(recorder.folder).read()
    assert isinstance(stored, CheckpointStored)
    assert stored.seconds == 1.0
