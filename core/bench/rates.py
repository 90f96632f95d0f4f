"""Speeds: so many units of work a second, measured in turn, with their spread and beside what the machine could do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
import torch

from dipddpm.core.bench import roofline
from dipddpm.core.methods.budget import clock_of

REPEATS = 5
FEW = 2


@dataclass(frozen=True)
class Work:
    """Something to measure: each call of `run` does `units` units of it."""

    part: str
    name: str
    unit: str
    units: float
    run: Callable[[], object]
    precision: str = "float32"
    counted: Callable[[], object] | None = None
    """The same, in a form whose operations can be counted, where `run` isn't that."""
    long: bool = False
    """Takes up to minutes: counting is its warm-up, and `FEW` calls are measured."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast something is: the median of `repeats` measurements, and half their range."""

    part: str
    name: str
    unit: str
    per_second: float
    spread: float
    repeats: int
    warm_up: float
    """Seconds of the first call, which compiles what is compiled."""
    flops: float
    """Floating-point operations of a unit."""
    bytes: float
    """Bytes that the operations of a unit read and write."""
    share: float
    """Of what the machine could do at most, by the roofline of these."""


def measured(works: Sequence[Work], machine: roofline.Machine, *, repeats: int = REPEATS) -> Iterator[Rate]:
    """Measure each work: once to warm up, then in turn with the others of its part; told when its part is done."""
    clock = clock_of(torch.device(machine.device))

    def seconds(work: Work) -> float:
        began = clock()
        work.run()
        return clock() - began

    for part in dict.fromkeys(work.part for work in works):
        own = [work for work in works if work.part == part]
        costs, counting = [], []
        for work in own:
            began = clock()
            costs.append(roofline.cost(work.counted or work.run))
            counting.append(clock() - began)
        first = [taken if work.long else seconds(work) for work, taken in zip(own, counting, strict=True)]
        times: list[list[float]] = [[] for _ in own]
        for turn in range(repeats):
            for place, work in enumerate(own):
                if turn < FEW or not work.long:
                    times[place].append(seconds(work))
        for place, work in enumerate(own):
            rates = [work.units / taken for taken in times[place]]
            middle = statistics.median(rates)
            least = costs[place].seconds_at_least(machine, work.precision) / work.units
            yield Rate(
                part=part,
                name=work.name,
                unit=work.unit,
                per_second=middle,
                spread=(max(rates) - min(rates)) / 2,
                repeats=len(rates),
                warm_up=first[place],
                flops=costs[place].flops / work.units,
                bytes=costs[place].bytes / work.units,
                share=least * middle,
            )
