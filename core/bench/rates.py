"""Measurement of rates in units per second, with their spread and their share of the roofline."""

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
"""Ratio of spread to median above which the machine is probably busy with other programs."""


@dataclass(frozen=True)
class Work:
    """A workload to measure; each call of `run` processes `units` units."""

    part: str
    name: str
    unit: str
    units: float
    run: Callable[[], object]
    precision: str = "float32"
    counted: Callable[[], object] | None = None
    """The uncompiled form of a compiled `run`, because operations of compiled code can't be counted."""
    long: bool = False
    """True for a workload of up to minutes: it is measured `LONG_REPEATS` times, and counting is its warm-up."""
    options: str = ""
    """Command-line options that select this form of the workload; empty for the default form."""
    waits: Mapping[str, float] = field(default_factory=dict)
    """Jobs that a user waits for, each with its number of units."""


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The rate of a workload: the median of `repeats` measurements, and half their range as `spread`."""

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
    """Floating-point operations per unit."""
    bytes: float
    """Bytes read and written per unit."""
    share: float
    """The rate divided by the highest rate that the roofline allows."""
    waits: dict[str, float]
    """Seconds that each job takes at this rate."""


def measure(works: Sequence[Work], machine: roofline.Machine, *, repeats: int = REPEATS) -> Iterator[Rate]:
    """Measure each workload after a warm-up, taking turns within its part; yield the rates of a part at its end."""
    clock = clock_of(torch.device(machine.device))

    def seconds(work: Work) -> float:
        began = clock()
        work.run()
        return clock() - began

    for part in dict.fromkeys(work.part for work in works):
        own = [work for work in works if work.part == part]
        costs, count_seconds = [], []
        for work in own:
            began = clock()
            costs.append(roofline.cost(work.counted or work.run))
            count_seconds.append(clock() - began)
        first = [counted if work.long else seconds(work) for work, counted in zip(own, count_seconds, strict=True)]
        measurements: list[list[float]] = [[] for _ in own]
        for turn in range(repeats):
            for work, times in zip(own, measurements, strict=True):
                if turn < LONG_REPEATS or not work.long:
                    times.append(seconds(work))
        for work, cost, warm_up, times in zip(own, costs, first, measurements, strict=True):
            rates = [work.units / time for time in times]
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
    """Return a sentence on the fastest form of each workload with several forms, and a warning of a busy machine."""
    sentences = []
    for default in (rate for rate in rates if not rate.options):
        forms = [rate for rate in rates if rate.options and (rate.part, rate.name) == (default.part, default.name)]
        faster = [rate for rate in forms if rate.per_second - rate.spread > default.per_second + default.spread]
        if faster:
            best = max(faster, key=lambda rate: rate.per_second)
            times = best.per_second / default.per_second
            sentences.append(f"{default.part}, {default.name}: {best.options} makes it {times:.2f} times as fast.")
        elif forms:
            sentences.append(f"{default.part}, {default.name}: none of the measured options makes it faster.")
    if any(rate.spread > BUSY * rate.per_second for rate in rates):
        sentences.append("Some rates vary by more than a quarter; measure again when the machine is otherwise idle.")
    return sentences
