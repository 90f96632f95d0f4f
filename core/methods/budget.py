"""What restoring costs: a restorer under the clock, and the baselines given as much time as a hybrid took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.evaluation.scoreboard import DDPM_MEAN, DIP_MEAN, POSTERIOR_MEAN
from dipddpm.core.events import Item, RestorationScored, StateDict, Step
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.metrics.image import psnr, ssim_scores

Clock: TypeAlias = Callable[[], float]
"""The time in seconds, of whatever beginning."""
MAX_AT_ONCE = 16
"""Runs that are asked for together: they share a batch, and its memory."""
SAMPLES = ("ddnm", 100)
"""Method and steps of the samples that are averaged where the posterior mean in one step serves the task best."""


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


class Stopwatch:
    """A restorer and the seconds that it takes: its making, its steps and its result, all counted.

    What is done between its steps, such as comparing with the truth, is not.
    """

    def __init__(self, make: Callable[[], Restorer], clock: Clock) -> None:
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

    def cost(self, runs: int = 1) -> Cost:
        """The restored images, (N, C, H, W), the mean of so many runs, and what they cost. To be asked for once."""
        began = self.clock()
        images = self.restorer.images
        self.seconds += self.clock() - began
        return Cost(images, runs, self.restorer.nfe, self.restorer.iterations, self.seconds)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        return {"restorer": self.restorer.state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called; the making is then counted once."""
        self.restorer.load_state_dict(state["restorer"])
        self.seconds = state["seconds"]


@dataclass(frozen=True)
class Cost:
    """What a method made of a stretch of time: the mean of `runs` runs, and what these cost for each image."""

    images: Tensor
    runs: int
    nfe: int
    iterations: int
    seconds: float

    def scored(self, truth: Tensor, **fields: Any) -> RestorationScored:
        """Score the images against the truth (N, C, H, W) in [0, 1]; `fields` are the event's others."""
        return RestorationScored(
            psnr=psnr(self.images, truth).tolist(),
            ssim=ssim_scores(self.images, truth),
            nfe=self.nfe,
            iterations=self.iterations,
            seconds=self.seconds,
            runs=self.runs,
            **fields,
        )


class TimeBudget:
    """A method, run as often as a budget of seconds allows and averaged: once at least, to the nearest whole run.

    Several budgets are met on the way to the largest. The runs after the first are taken together, as many as seem to
    fit, so that a device that does many at once is used as well as it can be. Yields the items of the runs, their
    steps counted as hundredths of the largest budget. Resumes exactly as far as a clock can be resumed.
    """

    STEPS = 100
    """Hundredths of the largest budget, which the steps count."""

    def __init__(
        self, make: Callable[[int, int], Restorer], budgets: Sequence[float], *, seed: int, clock: Clock
    ) -> None:
        """`make` makes a restorer, of a count and a seed, whose result is the mean of so many runs of its method."""
        self.make = make
        self.budgets = sorted(budgets)
        self.seed = seed
        self.clock = clock
        self.reached: list[Cost] = []
        """What was reached within each of the sorted budgets, as far as they are used up."""
        self._cost: Cost | None = None
        self._round = 0
        self._count = 1
        self._current: Stopwatch | None = None

    def __len__(self) -> int:
        return self.STEPS

    def __iter__(self) -> Iterator[Item]:
        while len(self.reached) < len(self.budgets):
            current = self._current = self._current or self._begin()
            for item in current:
                yield self._as_progress(item, current.seconds)
            self._add(current.cost(self._count))
            self._current = None
            self._record_reached()

    def within(self, budget: float) -> Cost:
        """What was reached within one of the budgets."""
        return self.reached[self.budgets.index(budget)]

    def state_dict(self) -> dict[str, Any]:
        """All that going on needs; valid after a `Step`."""
        return {
            "spent": dict(vars(self._cost)) if self._cost else None,
            "met": [dict(vars(cost)) for cost in self.reached],
            "round": self._round,
            "count": self._count,
            "current": self._current.state_dict() if self._current else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, with the same method and budgets."""
        self._cost = Cost(**state["spent"]) if state["spent"] else None
        self.reached = [Cost(**cost) for cost in state["met"]]
        self._round, self._count = state["round"], state["count"]
        if state["current"] is not None:
            self._current = self._begin()
            self._current.load_state_dict(state["current"])

    def _begin(self) -> Stopwatch:
        seed = derive(self.seed, f"round {self._round}")
        return Stopwatch(lambda: self.make(self._count, seed), self.clock)

    def _as_progress(self, item: Item, seconds: float) -> Item:
        if not isinstance(item, Step):
            return item
        elapsed = seconds + (self._cost.seconds if self._cost else 0.0)
        share = elapsed / self.budgets[-1] if self.budgets[-1] > 0 else 1.0
        return Step(step=max(1, int(len(self) * min(1.0, share))))

    def _add(self, new: Cost) -> None:
        old = self._cost
        if old is not None:
            runs = old.runs + new.runs
            mean = (old.runs * old.images + new.runs * new.images) / runs
            new = Cost(mean, runs, old.nfe + new.nfe, old.iterations + new.iterations, old.seconds + new.seconds)
        self._cost = new

    def _record_reached(self) -> None:
        """Note the budgets that have no room for half a run more, and how many runs the next one has room for."""
        assert self._cost is not None
        seconds_per_run = self._cost.seconds / self._cost.runs
        while len(self.reached) < len(self.budgets):
            seconds_left = self.budgets[len(self.reached)] - self._cost.seconds
            if seconds_left >= seconds_per_run / 2 and seconds_left > 0:
                # Not more than were done already, of which the time is known.
                self._count = max(
                    1,
                    min(round(seconds_left / seconds_per_run) if seconds_per_run else 1, self._cost.runs, MAX_AT_ONCE),
                )
                break
            self.reached.append(self._cost)
        self._round += 1


def baselines(
    case: Case, prior: TrainedModel | None, dip: DipConfig, *, budgets: Sequence[float], clock: Clock
) -> dict[str, TimeBudget]:
    """The parents by name, each with the same budgets of seconds; without a prior there is only DIP.

    The posterior mean in one step, where it serves, would be the same each time, and is run once.
    """

    def fits(count: int, seed: int) -> Restorer:
        return DipRestorer(replace(case, seed=seed), dip, restarts=count)

    budgets_by_name = {DIP_MEAN: TimeBudget(fits, budgets, seed=case.seed, clock=clock)}
    if prior is None:
        return budgets_by_name
    single = diffusion_for(case.degradation).method == POSTERIOR_MEAN

    def samples(count: int, seed: int, method: str = "", steps: int = 0) -> Restorer:
        return DdpmRestorer(replace(case, seed=seed), prior, method=method, steps=steps, samples=count)

    averaged = partial(samples, method=SAMPLES[0], steps=SAMPLES[1]) if single else samples
    budgets_by_name[DDPM_MEAN] = TimeBudget(averaged, budgets, seed=case.seed, clock=clock)
    if single:
        budgets_by_name[POSTERIOR_MEAN] = TimeBudget(samples, [0.0], seed=case.seed, clock=clock)
    return budgets_by_name
