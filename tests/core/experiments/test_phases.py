from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dipddpm.core.events import Item, Message, StateDict, Step
from dipddpm.core.experiments.phases import Phases
from tests.core.steps import until_step


class Counting:
    """A phase that takes only `taken` of its planned steps, then yields a message."""

    def __init__(self, planned: int, taken: int) -> None:
        self.planned, self.taken, self.step = planned, taken, 0

    def __len__(self) -> int:
        return self.planned

    def __iter__(self) -> Iterator[Item]:
        while self.step < self.taken:
            self.step += 1
            yield Step(step=self.step)
        yield Message(text=f"{self.taken} of {self.planned}")

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: StateDict) -> None:
        self.step = state["step"]


def phases() -> Phases:
    return Phases([Counting(3, 2), Counting(2, 2), Counting(4, 1)])


def test_phases_count_finished_phases_by_their_planned_steps() -> None:
    made = phases()
    assert [item.step for item in made if isinstance(item, Step)] == [1, 2, 3, 4, 5, 5, 6], (
        "expected a Step between two phases"
    )
    assert made.finished
    assert made.step == len(made) == 9


@pytest.mark.parametrize("steps", range(1, 8))
def test_phases_resume_after_any_step(steps: int) -> None:
    first, second = phases(), phases()
    before = until_step(first, steps)
    second.load_state_dict(first.state_dict())
    assert second.step == first.step
    assert [*before, *second] == list(phases())
