"""Tests of resuming: the last checkpoint, and the model that was the best at that time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core.compute import checkpoint
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, BestModelStored, Item, Message, RunStarted
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
    assert (folder / BEST_BEFORE).exists()
    counting.step = 2
    recorder.checkpoint(counting)
    assert not (folder / BEST_BEFORE).exists()
    Recorder(folder, recorder.log).resume_from_checkpoint(CountingExperiment())
    assert logged_bests(folder)[-1] == (2, checkpoint.digest(folder / BEST_FILE))


def test_resume_before_first_checkpoint_starts_from_the_beginning(recorder: Recorder) -> None:
    recorder.record(best_model(1))
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
    assert load_checkpoint(new, CountingExperiment(), torch.device("cpu")) == line


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
