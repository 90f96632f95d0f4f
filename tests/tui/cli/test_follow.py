"""The function that `run`, `resume` and `watch` follow a run with."""

from __future__ import annotations

import shutil
import time

import pytest

from dipddpm.core import events
from dipddpm.core.runs import EventLog, Run
from dipddpm.tui.cli import follow
from tests.helpers import record_calls
from tests.tui.driving import Maker


def test_follow_reads_no_status_without_progress_display(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(losses=[1 / number for number in range(1, 40)])
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)  # as if every status took longer than the interval
    statuses = record_calls(monkeypatch, Run, "status")
    assert follow.follow(run) == 0
    assert "Loss at epoch 39: 0.026" in capsys.readouterr().out
    assert len(statuses) <= 2, "one to see the end of the run, one for its exit code"


def test_follow_prints_repeated_epochs_once(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(state="crashed", losses=[0.5, 0.4])
    log = EventLog(run.folder)
    checkpoint = log.size
    log.append(events.EpochFinished(epoch=3, step=30, loss=0.3))
    log.append(events.RunResumed(from_step=20, from_epoch=2, from_offset=checkpoint))
    log.append(events.EpochFinished(epoch=3, step=30, loss=0.3))
    log.append(events.RunFinished(seconds=1.0))
    log.close()
    assert follow.follow(run) == 0
    output = capsys.readouterr().out
    assert [output.count(f"Loss at epoch {number}:") for number in (1, 2, 3)] == [1, 1, 1]


def test_follow_reports_vanished_run(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(state="running")
    monkeypatch.setattr(time, "sleep", lambda _: shutil.rmtree(run.folder, ignore_errors=True))
    monkeypatch.setattr(follow, "STATUS_SECONDS", 0.0)
    assert follow.follow(run) == 1
    assert f"{run.id} can't be followed" in capsys.readouterr().err
