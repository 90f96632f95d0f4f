from __future__ import annotations

import pytest
import torch

from dipddpm.core.bench import goals, suite
from dipddpm.core.config import DipConfig
from dipddpm.core.runs import reference

CPU = torch.device("cpu")
SHIPPED = reference.FOLDER
"""Where the runs that ship are, before a test hides them."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FOLDER", SHIPPED)
    monkeypatch.setattr(goals, "STEPS", 1)
    monkeypatch.setattr(goals, "BATCH", 60_000 // 4)
    monkeypatch.setattr(goals, "SAMPLES", 2)
    monkeypatch.setattr(goals, "SAMPLERS", (("ancestral", 3), ("heun", 2)))
    monkeypatch.setattr(goals, "DipConfig", lambda: DipConfig(iterations=2, channels=4, scales=1))


def test_each_goal_has_its_row(small: None) -> None:
    names = [row.name for row in goals.rows(CPU, images=2)]
    assert names == [
        "an epoch of 60,000 images, from 1 steps",
        "2 images denoised by DIP, to their stops",
        "2 samples, ancestral, 3 NFE",
        "2 samples, heun, 2 NFE",
    ]


def test_an_epoch_is_as_many_steps_as_it_has(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 9.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0])
    monkeypatch.setattr(goals, "clock_of", lambda device: lambda: next(seconds))
    monkeypatch.setattr(goals, "take", lambda items, count: None)
    assert goals.epoch(CPU).seconds == 12, "four steps of the median 3"


def test_the_goals_are_a_part_of_the_one_command() -> None:
    assert "goals" in suite.chosen([])
