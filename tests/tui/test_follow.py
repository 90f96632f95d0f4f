"""What `run`, `resume` and `watch` follow a run with."""

from __future__ import annotations

import shutil

import pytest

from core.runs import Run
from tests.tui.driving import Maker
from tui import follow


def test_a_run_that_nobody_sees_the_progress_of_is_not_looked_at(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(losses=[1 / number for number in range(1, 40)])
    looks = []
    look = Run.look
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.0)  # as if each look took longer than people wait for one
    monkeypatch.setattr(Run, "look", lambda self: looks.append(self) or look(self))
    assert follow.follow(run) == 0
    assert "Loss at epoch 39: 0.026" in capsys.readouterr().out
    assert len(looks) <= 2, "whether it has ended, and how"


def test_a_run_that_vanishes_is_told_of(
    make: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(state="running")
    monkeypatch.setattr(follow.time, "sleep", lambda _: shutil.rmtree(run.folder, ignore_errors=True))
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.0)
    assert follow.follow(run) == 1
    assert f"{run.id} can't be followed" in capsys.readouterr().err
