"""Rates: units of work per second, measured in turns, with their spread and their share of the roofline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import torch

from dipddpm.core.bench import roofline
from dipddpm.core.methods.budget import clock_of

REPEATS = 5
LONG_REPEATS = 2
BUSY = 0.25
"""Spread over median from which other work on the machine is suspected."""


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
    """The same work uncompiled, where `run` is compiled: operations of compiled code can't be counted."""
    long: bool = False
    """Takes up to minutes: counting its operations is its warm-up, and it is measured `LONG_REPEATS` times."""
    options: str = ""
    """The command-line options that ask for this form of the work; empty for the default form."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """Jobs that a user waits for, and how many units each has."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a work is: the median of `repeats` measurements, and half their range."""

    part: str
    name: str
    options: str
    unit: str
    per_second: float
    spread: float
    repeats: int
    warm_up: float
    """Seconds of the first call, which includes compilation."""
    flops: float
    """Floating-point operations of a unit."""
    bytes: float
    """Bytes that the operations of a unit read and write."""
    share: float
    """The rate as a share of the highest one that the roofline allows."""
    waits: dict[str, float]
    """Seconds that each of the work's jobs takes at this rate."""


def measure(works: Sequence[Work], machine: roofline.Machine, *, repeats: int = REPEATS) -> Iterator[Rate]:
    """Measure each work after a warm-up, in turns with the others of its part; yield a part's rates at its end."""
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
            for work, taken in zip(own, times, strict=True):
                if turn < LONG_REPEATS or not work.long:
                    taken.append(seconds(work))
        for work, cost, warm_up, taken in zip(own, costs, first, times, strict=True):
            rates = [work.units / each for each in taken]
            median = statistics.median(rates)
            yield Rate(
                part=part,
                name=work.name,
                options=work.options,
                unit=work.unit,
                per_second=median,
                spread=(max(rates) - min(rates)) / 2,
                repeats=len(rates),
                warm_up=warm_up,
                flops=cost.flops / work.units,
                bytes=cost.bytes / work.units,
                share=median * cost.seconds_at_least(machine, work.precision) / work.units,
                waits={job: units / median for job, units in work.waits.items()},
            )


def advice(rates: Sequence[Rate]) -> list[str]:
    """For each work with several forms, a sentence that names the options of its fastest form; and what to doubt."""
    sentences = []
    for default in (rate for rate in rates if not rate.options):
        forms = [rate for rate in rates if rate.options and (rate.part, rate.name) == (default.part, default.name)]
        faster = [rate for rate in forms if rate.per_second - rate.spread > default.per_second + default.spread]
        if faster:
            best = max(faster, key=lambda rate: rate.per_second)
            times = best.per_second / default.per_second
            sentences.append(f"{default.part}, {default.name}: {best.options} makes it {times:.2f} times as fast.")
        elif forms:
            sentences.append(f"{default.part}, {default.name}: no option that was tried makes it faster here.")
    if any(rate.spread > BUSY * rate.per_second for rate in rates):
        sentences.append("Some rates vary by more than a quarter: measure again while the machine does nothing else.")
    return sentences
