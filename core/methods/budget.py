"""Measure what a restoration costs, and run the baselines for as many seconds as a hybrid took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.evaluation.rows import (
    DDPM_EQUAL,
    DDPM_MEAN,
    DIP_EQUAL,
    DIP_MEAN,
    POSTERIOR_MEAN,
    detects_impulses,
    equalizes_spectrum,
)
from dipddpm.core.events import Item, RestorationScored, StateDict, Step
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.classical.pictures import task_of
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for, diffusion_for_mean
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.equal_tricks import equal_ddpm, equal_dip
from dipddpm.core.metrics.image import psnr, ssim_scores

Clock: TypeAlias = Callable[[], float]
"""A function that returns the time in seconds since an arbitrary origin."""
MAX_AT_ONCE = 16
"""The largest number of runs in one round; they share a batch, and its memory."""


def clock_of(device: torch.device) -> Clock:
    """Return a clock for work on this device; on a GPU, reading it first waits until the queued work is done.

    Work on one CPU thread is measured in processor time, which other work on the machine doesn't increase.
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
    """A restorer and the seconds that it takes: its construction, its steps and its final images all count.

    Work that the caller does between two steps, such as comparing with the truth, doesn't count.
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
        """Return the restored images (N, C, H, W), which are the mean of `runs` runs, and what they cost.

        Work that was done before, for another restorer too, counts (`seconds_before`). Computing the images adds to the
        seconds, so call this only once.
        """
        began = self.clock()
        images = self.restorer.images
        self.seconds += self.clock() - began
        before: float = getattr(self.restorer, "seconds_before", 0.0)
        return Cost(images, runs, self.restorer.nfe, self.restorer.iterations, before + self.seconds)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"restorer": self.restorer.state_dict(), "seconds": self.seconds}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state. The seconds of the state replace those counted so far: construction counts once."""
        self.restorer.load_state_dict(state["restorer"])
        self.seconds = state["seconds"]


@dataclass(frozen=True)
class Cost:
    """The mean restoration of `runs` runs of a method, and what these runs cost for each image."""

    images: Tensor
    runs: int
    nfe: int
    iterations: int
    seconds: float

    def scored(self, truth: Tensor, **fields: Any) -> RestorationScored:
        """Score the images against the truth (N, C, H, W) in [0, 1]; `fields` are the event's other fields."""
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
    """A method that is run as often as a budget of seconds allows, and averaged over its runs.

    The number of runs, at least one, is the number whose time comes nearest to the budget. If there are several
    budgets, the smaller ones are recorded on the way to the largest. After the first run, as many runs as seem to fit
    into the remaining time are made together in one round, so that they share a batch on the device. Yields the items
    of the runs; their steps are counted in hundredths of the largest budget. Resumes exactly, apart from the clock's
    readings.
    """

    STEPS = 100
    """The number of steps: each is a hundredth of the largest budget."""

    def __init__(
        self,
        make: Callable[[int, int], Restorer],
        budgets: Sequence[float],
        *,
        seed: int,
        clock: Clock,
    ) -> None:
        """Set up the budgets, in seconds.

        `make` builds a restorer from a count and a seed; its result is the mean of `count` runs of the method.
        """
        self.make = make
        self.budgets = sorted(budgets)
        self.seed = seed
        self.clock = clock
        self.reached: list[Cost] = []
        """The cost and mean restoration at the end of each budget that is used up, in the order of `budgets`."""
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
        """Return the cost and mean restoration at the end of one of the budgets."""
        return self.reached[self.budgets.index(budget)]

    def state_dict(self) -> dict[str, Any]:
        """Return all that resuming needs; valid after a `Step`."""
        return {
            "spent": dict(vars(self._cost)) if self._cost else None,
            "met": [dict(vars(cost)) for cost in self.reached],
            "round": self._round,
            "count": self._count,
            "current": self._current.state_dict() if self._current else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of the same method and budgets."""
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
        """Record each budget with less than half a run's time left, and plan the runs of the next round."""
        assert self._cost is not None
        seconds_per_run = self._cost.seconds / self._cost.runs
        while len(self.reached) < len(self.budgets):
            seconds_left = self.budgets[len(self.reached)] - self._cost.seconds
            if seconds_left >= seconds_per_run / 2 and seconds_left > 0:
                # At most as many runs as have been done so far: the time of a larger round can't be predicted.
                self._count = max(
                    1,
                    min(round(seconds_left / seconds_per_run) if seconds_per_run else 1, self._cost.runs, MAX_AT_ONCE),
                )
                break
            self.reached.append(self._cost)
        self._round += 1


def averaged_samples(case: Case, prior: TrainedModel, count: int) -> DdpmRestorer:
    """Build the mean of `count` samples, by the best sampler for the task."""
    best = diffusion_for_mean(case.degradation)
    return DdpmRestorer(case, prior, method=best.method, steps=best.steps, samples=count)


def baselines(
    case: Case, prior: TrainedModel | None, dip: DipConfig, *, budgets: Sequence[float], clock: Clock
) -> dict[str, TimeBudget]:
    """Return the baselines by name, each with the same budgets of seconds; without a prior there is only DIP.

    With impulses or a blur, those with the hybrid's tricks come after the plain ones.
    The posterior mean in one step, for tasks that it can restore, gives the same images each time, so it is run once.
    """
    makers: dict[str, Callable[[Case, int], Restorer]] = {
        DIP_MEAN: lambda c, count: DipRestorer(c, dip, restarts=count)
    }
    if prior is not None:
        makers[DDPM_MEAN] = lambda c, count: averaged_samples(c, prior, count)
        if diffusion_for(case.degradation).method == POSTERIOR_MEAN:
            makers[POSTERIOR_MEAN] = lambda c, count: DdpmRestorer(c, prior, samples=count)
    kind = task_of(case.degradation.operator), case.degradation.noise.kind
    if detects_impulses(*kind) or equalizes_spectrum(*kind):
        makers[DIP_EQUAL] = lambda c, count: equal_dip(c, dip, count)
    if detects_impulses(*kind) and prior is not None:
        makers[DDPM_EQUAL] = lambda c, count: equal_ddpm(c, prior, count)

    def repeated(name: str, make: Callable[[Case, int], Restorer]) -> TimeBudget:
        seconds = [0.0] if name == POSTERIOR_MEAN else budgets
        return TimeBudget(
            lambda count, seed: make(replace(case, seed=seed), count), seconds, seed=case.seed, clock=clock
        )

    return {name: repeated(name, make) for name, make in makers.items()}
