"""Tests of the decision when to store a checkpoint, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.launch.policy import MOST_SHARE, CheckpointPolicy

BEST = events.BestModel(network=None, step=1, value=1.0)


@dataclass
class Simulation:
    """A run whose steps and checkpoints take the seconds that a test says."""

    cost: float = 0.1
    settings: dict[str, float] = field(default_factory=dict)
    now: float = 1000.0
    epoch: int = 0
    work: float = 0.0
    costs: list[float] = field(default_factory=list)
    stored: list[tuple[float, int]] = field(default_factory=list)
    """The seconds of work and the finished epochs at each checkpoint."""
    unsaved: list[float] = field(default_factory=list)
    """After each step, the seconds of work that a kill would lose."""

    def __post_init__(self) -> None:
        self.policy = CheckpointPolicy(configs.build("ddpm", settings=self.settings), self.now, 0)

    def step(self, seconds: float, *, ends_epoch: bool = False, item: events.Item | None = None) -> None:
        self.now += seconds
        self.work += seconds
        self.epoch += ends_epoch
        if item is not None:
            self.policy.add(item)
        if self.policy.is_due(self.now, self.epoch):
            self.now += self.cost
            self.policy.add_stored(self.cost, self.now, self.epoch)
            self.costs.append(self.cost)
            self.stored.append((self.work, self.epoch))
        self.unsaved.append(self.work - self.stored[-1][0])

    def epochs(self, count: int, seconds: float, *, steps: int = 10, best: Iterable[int] = ()) -> None:
        for epoch in range(1, count + 1):
            for step in range(1, steps + 1):
                done = step == steps
                self.step(seconds / steps, ends_epoch=done, item=BEST if done and epoch in best else None)

    def stored_epochs(self) -> set[int]:
        return {epoch for _, epoch in self.stored}


def test_first_step_is_stored_at_once() -> None:
    run = Simulation()
    run.step(0.01)
    assert run.stored == [(0.01, 0)]


def test_first_epoch_is_stored_at_any_cost() -> None:
    run = Simulation(cost=5.0)
    run.epochs(1, 3.0)
    assert [epoch for _, epoch in run.stored] == [0, 1]


@pytest.mark.parametrize(("seconds", "every"), [(5.1, 1), (2.6, 2), (0.51, 10)])
def test_epochs_are_stored_as_often_as_two_percent_allow(seconds: float, every: int) -> None:
    run = Simulation(cost=0.1)
    for _ in range(100):
        run.step(100.0)  # so long that a tenth of the work comes to more than some epochs
    before = len(run.stored)
    run.epochs(60, seconds, steps=1)
    assert run.stored_epochs() >= {1, *range(1 + every, 60, every)}
    assert len(run.stored) - before <= 1 + 60 // every


def test_short_epochs_are_stored_with_best_models() -> None:
    run = Simulation(cost=0.1)
    best = {7, 8, 9, 20, 40, 90}
    run.epochs(100, 2.1, steps=1, best=best)  # the cost is 4.8% of an epoch
    assert run.stored_epochs() >= best - {8}
    assert len(run.stored) < 70


def test_stages_and_scores_are_stored() -> None:
    run = Simulation(cost=0.1)
    for _ in range(500):
        run.step(0.2)
    before = len(run.stored)
    for step in range(20):
        item = events.StageStarted(step=step, title="Fit", stage=1, stages=2)
        run.step(2.1, item=item)
    assert len(run.stored) == before + 20


def test_long_epochs_are_stored_within_and_at_least_every_minute() -> None:
    run = Simulation(cost=0.5)
    run.epochs(2, 7200.0, steps=7200)
    late = [after[0] - before[0] for before, after in zip(run.stored, run.stored[1:], strict=False)]
    assert max(late) <= 61.0
    early = [lost for lost, done in zip(run.unsaved, range(1, 600), strict=False) if lost > 1 + max(10.0, 0.11 * done)]
    assert early == []


def test_killed_after_18_seconds_loses_at_most_a_tenth() -> None:
    run = Simulation(cost=0.03)
    for _ in range(180):
        run.step(0.1)
    assert run.unsaved[-1] <= 1.8 + 0.1


def test_slow_disk_makes_checkpoints_rarer() -> None:
    run = Simulation(cost=20.0)  # 5% of 400 seconds
    run.epochs(360, 10.0, best=range(1, 361))
    assert 8 <= len(run.stored) <= 10
    run.cost = 0.01  # from the next checkpoint on, the disk is fast again
    before = len(run.stored)
    run.epochs(100, 10.0)
    assert len(run.stored) > before + 59


@pytest.mark.parametrize("seconds", [0.0, 5.0, 30.0])
def test_seconds_that_user_sets_are_kept_at_any_cost(seconds: float) -> None:
    run = Simulation(cost=8.0, settings={"checkpoint_seconds": seconds})
    for _ in range(100):
        run.step(1.0)
    assert max(run.unsaved) <= seconds


def test_epochs_that_user_sets_are_kept_at_any_cost() -> None:
    run = Simulation(cost=60.0, settings={"checkpoint_epochs": 3})
    run.epochs(30, 1.0)
    assert run.stored_epochs() == {0, 1, *range(4, 31, 3)}


def test_more_seconds_than_default_make_late_checkpoints_rarer() -> None:
    often, seldom = Simulation(cost=0.5), Simulation(cost=0.5, settings={"checkpoint_seconds": 1e9})
    for run in (often, seldom):
        for _ in range(36000):
            run.step(1.0)
    assert len(often.stored) > 600
    assert len(seldom.stored) < 120


@given(
    steps=st.lists(
        st.tuples(st.floats(1e-3, 1e3), st.floats(0, 100), st.booleans(), st.booleans()), min_size=1, max_size=80
    )
)
def test_all_checkpoints_but_three_take_a_bounded_share(steps: list[tuple[float, float, bool, bool]]) -> None:
    run = Simulation()
    for seconds, cost, ends_epoch, has_best in steps:
        run.cost = cost
        run.step(seconds, ends_epoch=ends_epoch, item=BEST if has_best else None)
    first = [epoch > 0 for _, epoch in run.stored].index(True) if run.stored[-1][1] else 0
    unpaid = {first - 1, len(run.costs) - 1}
    paid = [cost for n, cost in enumerate(run.costs) if n not in unpaid]
    assert sum(paid) - max(paid, default=0.0) <= MOST_SHARE * run.work * (1 + 1e-9)


@given(
    costs=st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=6),
    slow=st.integers(0, 20),
    outlier=st.floats(1.0, 1e6),
)
def test_one_slow_checkpoint_delays_the_next_ones_by_a_bounded_time(
    costs: list[float], slow: int, outlier: float
) -> None:
    """However slow one checkpoint is, the others aren't further apart than their own costs and settings allow."""
    run = Simulation()
    for _ in range(250):
        count = len(run.stored)
        run.cost = outlier if count == slow else costs[count % len(costs)]
        run.step(1.0)
    assert max(run.unsaved) <= max(60.0, 2 * max(costs) / MOST_SHARE) + 1.0
    assert len(run.stored) > min(slow, 3)


@given(
    cost=st.floats(1e-3, 30),
    steps=st.lists(st.tuples(st.floats(1e-3, 100), st.booleans(), st.booleans()), min_size=1, max_size=80),
)
def test_unsaved_work_is_bounded(cost: float, steps: list[tuple[float, bool, bool]]) -> None:
    """After each step the work since the last checkpoint is within the stated bounds.

    Up to three checkpoints are stored early whatever they cost; until two are paid for, more work may be lost.
    """
    run = Simulation(cost=cost)
    for seconds, ends_epoch, has_best in steps:
        run.step(seconds, ends_epoch=ends_epoch, item=BEST if has_best else None)
        lost, elapsed = run.unsaved[-1], run.now - 1000.0
        allowed = max(60.0, cost / 0.05)
        if ends_epoch:
            allowed = min(allowed, cost / 0.02)
        if has_best:
            allowed = min(allowed, cost / 0.05)
        allowed = min(allowed, max(0.1 * elapsed, cost / 0.05))
        assert lost <= allowed * (1 + 1e-9) or run.work <= 2 * cost / 0.05 * (1 + 1e-9)
