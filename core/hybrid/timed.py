"""What restoring costs: a restorer under the clock, and a method given as much time as another one took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from core.events import Item, State, Step
from core.hybrid.restorer import Restorer
from core.seeds import derive

Clock: TypeAlias = Callable[[], float]
"""The time in seconds, of whatever beginning."""
Make: TypeAlias = Callable[[], Restorer]
MakeMany: TypeAlias = Callable[[int, int], Restorer]
"""From a count and a seed to a restorer whose result is the mean of so many runs of its method."""
MOST_AT_ONCE = 16
"""Runs that are asked for together: they share a batch, and its memory."""


def clock_of(device: torch.device) -> Clock:
    """A clock for work on this device: it waits until what was asked of the device is done.

    Work on one CPU thread is counted in processor time, which other work on the machine doesn't stretch.
    """
    if device.type == "cpu" and torch.get_num_threads() == 1:
        return time.process_time
    if device.type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read


class Timed:
    """A restorer and the seconds that it takes: its making, its steps and its result, all counted.

    What is done between its steps, such as comparing with the truth, is not.
    """

    def __init__(self, make: Make, clock: Clock) -> None:
        self.clock = clock
        began = clock()
        self.restorer = make()
        self.seconds = clock() - began

    def __iter__(self) -> Iterator[Item]:
        items = iter(self.restorer)
        while True:
            began = self.clock()
            item = next(items, None)
            self.seconds += self.clock() - began
            if item is None:
                return
            yield item

    def result(self) -> Tensor:
        """The restored images, (N, C, H, W). To be asked for once."""
        began = self.clock()
        images = self.restorer.images
        self.seconds += self.clock() - began
        return images

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        return {"restorer": self.restorer.state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called; the making is then counted once."""
        self.restorer.load_state_dict(state["restorer"])
        self.seconds = state["seconds"]


@dataclass(frozen=True)
class Spent:
    """What a method made of a stretch of time: the mean of `runs` runs, and what these cost for each image."""

    images: Tensor
    runs: int
    nfe: int
    iterations: int
    seconds: float


class Budgeted:
    """A method, run as often as a budget of seconds allows and averaged: once at least, to the nearest whole run.

    Several budgets are met on the way to the largest. The runs after the first are taken together, as many as seem to
    fit, so that a device that does many at once is used as well as it can be. Yields the items of the runs, their
    steps counted as hundredths of the largest budget. Resumes exactly as far as a clock can be resumed.
    """

    def __init__(self, make: MakeMany, budgets: Sequence[float], *, seed: int, clock: Clock) -> None:
        self.make = make
        self.budgets = sorted(budgets)
        self.seed = seed
        self.clock = clock
        self.met: list[Spent] = []
        """What was reached within each of the sorted budgets, as far as they are used up."""
        self._spent: Spent | None = None
        self._round = 0
        self._count = 1
        self._current: Timed | None = None

    def __len__(self) -> int:
        return 100

    def __iter__(self) -> Iterator[Item]:
        while len(self.met) < len(self.budgets):
            current = self._current = self._current or self._begin()
            for item in current:
                yield self._counted(item, current.seconds)
            self._add(current)
            self._current = None
            self._meet()

    def of(self, budget: float) -> Spent:
        """What was reached within one of the budgets."""
        return self.met[self.budgets.index(budget)]

    def state_dict(self) -> dict[str, Any]:
        """All that going on needs; valid between two items."""
        return {
            "spent": None if self._spent is None else dict(vars(self._spent)),
            "met": [dict(vars(spent)) for spent in self.met],
            "round": self._round,
            "count": self._count,
            "current": None if self._current is None else self._current.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, with the same method and budgets."""
        self._spent = None if state["spent"] is None else Spent(**state["spent"])
        self.met = [Spent(**spent) for spent in state["met"]]
        self._round, self._count = state["round"], state["count"]
        if state["current"] is not None:
            self._current = self._begin()
            self._current.load_state_dict(state["current"])

    def _begin(self) -> Timed:
        seed = derive(self.seed, f"round {self._round}")
        return Timed(lambda: self.make(self._count, seed), self.clock)

    def _counted(self, item: Item, seconds: float) -> Item:
        if not isinstance(item, Step):
            return item
        spent = seconds + (self._spent.seconds if self._spent else 0.0)
        share = spent / self.budgets[-1] if self.budgets[-1] > 0 else 1.0
        return Step(step=max(1, int(len(self) * min(1.0, share))))

    def _add(self, done: Timed) -> None:
        images = done.result()
        new = Spent(images, self._count, done.restorer.nfe, done.restorer.iterations, done.seconds)
        old = self._spent
        if old is not None:
            runs = old.runs + new.runs
            mean = (old.runs * old.images + new.runs * new.images) / runs
            new = Spent(mean, runs, old.nfe + new.nfe, old.iterations + new.iterations, old.seconds + new.seconds)
        self._spent = new

    def _meet(self) -> None:
        """Note the budgets that have no room for half a run more, and how many runs the next one has room for."""
        assert self._spent is not None
        each = self._spent.seconds / self._spent.runs
        while len(self.met) < len(self.budgets):
            left = self.budgets[len(self.met)] - self._spent.seconds
            if left >= each / 2 and left > 0:
                # Not more than were done already, of which the time is known.
                self._count = max(1, min(round(left / each) if each else 1, self._spent.runs, MOST_AT_ONCE))
                break
            self.met.append(self._spent)
        self._round += 1
