"""Stopwatches and time budgets, tested with a clock that only the restorers' own work advances."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.methods.budget import Stopwatch, TimeBudget


class Clock:
    time = 0.0

    def __call__(self) -> float:
        return self.time


class Steady:
    """`count` runs of two steps each; a step takes `pace / 2` seconds, the construction `making` seconds."""

    spread = None

    def __init__(self, clock: Clock, count: int, seed: int, *, pace: float, making: float = 0.0) -> None:
        self.clock, self.count, self.seed, self.pace = clock, count, seed, pace
        self.done = 0
        clock.time += making

    def __len__(self) -> int:
        return 2 * self.count

    def __iter__(self) -> Iterator[Item]:
        while self.done < len(self):
            self.clock.time += self.pace / 2
            self.done += 1
            yield Step(step=self.done)

    @property
    def images(self) -> Tensor:
        """An image whose value depends on the seed alone."""
        return torch.tensor([float(self.seed % 1000)]).view(1, 1, 1, 1)

    @property
    def nfe(self) -> int:
        return 5 * self.count

    @property
    def iterations(self) -> int:
        return 0

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: StateDict) -> None:
        self.done = state["done"]


def time_budget(budgets: list[float], pace: float) -> TimeBudget:
    clock = Clock()
    return TimeBudget(lambda count, seed: Steady(clock, count, seed, pace=pace), budgets, seed=7, clock=clock)


def test_stopwatch_counts_construction_and_steps_only() -> None:
    clock = Clock()
    stopwatch = Stopwatch(lambda: Steady(clock, 3, 0, pace=2.0, making=0.5), clock)
    for _ in stopwatch:
        clock.time += 100  # the caller's own work between two steps
    stopwatch.cost()
    assert stopwatch.seconds == pytest.approx(0.5 + 3 * 2.0)


@given(st.floats(0.01, 50), st.floats(0.5, 5))
def test_time_budget_uses_nearest_whole_number_of_runs(budget: float, pace: float) -> None:
    work = time_budget([budget], pace)
    assert list(work)
    (cost,) = work.reached
    assert cost.seconds == pytest.approx(cost.runs * pace)
    assert cost.runs == 1 or abs(cost.seconds - budget) <= pace / 2 + 1e-9
    assert cost.runs > 1 or budget < 1.5 * pace + 1e-9
    assert cost.nfe == 5 * cost.runs


def test_time_budget_records_smaller_budgets_on_way() -> None:
    work = time_budget([10.0, 2.0, 5.0], 1.0)
    for _ in work:
        pass
    assert [work.within(budget).runs for budget in (2.0, 5.0, 10.0)] == [2, 5, 10]


def test_time_budget_result_is_mean_of_all_runs() -> None:
    taken: list[tuple[int, int]] = []
    clock = Clock()

    def make(count: int, seed: int) -> Steady:
        taken.append((count, seed))
        return Steady(clock, count, seed, pace=1.0)

    work = TimeBudget(make, [7.0], seed=7, clock=clock)
    for _ in work:
        pass
    mean = sum(count * (seed % 1000) for count, seed in taken) / 7
    assert work.reached[0].images.item() == pytest.approx(mean)
    assert len({seed for _, seed in taken}) == len(taken)


@given(st.integers(1, 40))
def test_time_budget_resumes_after_any_item(cut: int) -> None:
    whole = time_budget([4.0, 9.0], 1.0)
    expected = list(whole)
    first, second = time_budget([4.0, 9.0], 1.0), time_budget([4.0, 9.0], 1.0)
    items = list(islice(first, min(cut, len(expected) - 1)))
    second.load_state_dict(first.state_dict())
    items += list(second)
    assert items == expected
    assert [vars(cost) for cost in second.reached] == [vars(cost) for cost in whole.reached]


def test_time_budget_steps_are_hundredths_of_largest() -> None:
    steps = [item.step for item in time_budget([2.0, 8.0], 1.0) if isinstance(item, Step)]
    assert steps == sorted(steps)
    assert (steps[-1], len(time_budget([1.0], 1.0))) == (100, 100)
