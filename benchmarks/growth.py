"""Benchmark of how cost grows with image size, batch size, runs in the folder, events in a log and resumes."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer

from benchmarks import results
from benchmarks.options import Device, Out, Threads, resolve
from benchmarks.program import CLI, execute, make_runs
from benchmarks.timing import seconds_of
from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.config import DipConfig, parse_task
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.degrade import degrade
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.events import Event
from dipddpm.core.methods.budget import clock_of
from dipddpm.core.report import plots
from dipddpm.core.report.plots import Curve, LinePlot
from dipddpm.core.runs import EventLog, RunsFolder, history, summary
from dipddpm.tui.cli.output import print_table

ROUNDING = 0.15
"""Largest excess of an exponent over 1 that still counts as linear; repeats of the same work differ by as much."""


class Point(msgspec.Struct, frozen=True):
    """The seconds for an amount of work: the least of `repeats` measurements, since other work only adds time."""

    amount: int
    seconds: float
    repeats: int


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of some work at several amounts."""

    name: str
    amount: str
    """The unit of the amounts."""
    points: list[Point]

    @property
    def steepest(self) -> float:
        """The largest exponent b of cost ~ amount^b between two neighbouring points; 1 is linear."""
        pairs = zip(self.points, self.points[1:], strict=False)
        return max(math.log(b.seconds / a.seconds) / math.log(b.amount / a.amount) for a, b in pairs)

    @property
    def linear(self) -> bool:
        """True if the cost grows at most linearly, within the spread of its repeats."""
        return self.steepest <= 1 + ROUNDING


def measure(
    *,
    longest: Annotated[
        int,
        typer.Option("--events", min=1000, help="Events in the longest log; ten million take 4 minutes."),
    ] = 1_000_000,
    threads: Threads = 0,
    device: Device = "auto",
    out: Out = Path("build/growth"),
) -> None:
    """Measure how cost grows with pixels, batch size, runs, resumes and events."""
    growths: list[Growth] = []
    for growth in all_of(resolve(device, threads), CLI, longest):
        growths.append(growth)
        results.save(out / "growth.json", growths)
        print(growth.name, file=sys.stderr)
    plots.save(plot(growths), out / "growth.png")
    table = [("COST OF", "BY", "FROM", "TO", "STEEPEST", "")]
    for growth in growths:
        first, last = growth.points[0], growth.points[-1]
        ends = (f"{first.amount:,}: {first.seconds:.4f} s", f"{last.amount:,}: {last.seconds:.4f} s")
        remark = "" if growth.linear else "worse than linear"
        table.append((growth.name, growth.amount, *ends, f"^{growth.steepest:.2f}", remark))
    print_table(list(table))


def pixels(device: torch.device, sides: Sequence[int] = (28, 64, 128, 256)) -> Growth:
    """Measure an iteration of DIP on one image, by the number of its pixels."""

    def work(side: int) -> Callable[[], object]:
        x0 = torch.rand(1, 1, side, side, device=device)
        y, degradation = degrade(parse_task("denoise:sigma=25"), x0, seeds=[0])
        return PriorBatch(y, degradation, DipConfig(), (1, side, side)).step_once

    points = [_point(side * side, work(side), device) for side in sides]
    return Growth(name="an iteration of DIP", amount="pixels of the image", points=points)


def batch(device: torch.device, largest: int = 4096) -> Growth:
    """Measure a forward and backward pass of the U-Net, by the images in a batch; 4096 images take 4 GB."""
    network = UNet((1, 28, 28), channels=(32, 64)).to(device)
    sizes = [4**power for power in range(7) if 4**power <= largest]

    def step(count: int) -> None:
        x = torch.randn(count, 1, 28, 28, device=device)
        network(x, torch.zeros(count, dtype=torch.long, device=device)).square().mean().backward()

    points = [_point(count, partial(step, count), device) for count in sizes]
    return Growth(name="a training step of a U-Net", amount="images of the batch", points=points)


def runs(command: list[str], counts: Sequence[int] = (10, 100, 1000, 10_000)) -> Growth:
    """Measure `dipddpm ls --all`, including the start of Python, by the number of runs in the folder."""
    points = []
    with tempfile.TemporaryDirectory() as folder:
        made = 0
        for count in counts:
            make_runs(Path(folder), count - made)
            made = count
            listing = partial(execute, [*command, "ls", "--all", "--runs-dir", folder])
            points.append(_point(count, listing, torch.device("cpu"), clock=time.perf_counter))
    return Growth(name="dipddpm ls --all", amount="runs in the folder", points=points)


def log(counts: Sequence[int] = (1_000, 10_000, 100_000, 1_000_000)) -> tuple[Growth, Growth]:
    """Measure writing a log and rebuilding the summary from it, by the number of events."""
    written, read = [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            run = RunsFolder(Path(folder)).create(configs.build("ddpm"))
            log = EventLog(run.folder)
            began = time.perf_counter()
            for step in range(1, count + 1):
                log.append(events.Step(step=step, epoch=1, loss=1 / step))
            written.append(Point(count, time.perf_counter() - began, 1))
            log.close()
            fold = partial(summary.rebuild, run.folder)
            read.append(_point(count, fold, torch.device("cpu"), clock=time.perf_counter, repeats=2))
    return (
        Growth(name="writing a log", amount="events", points=written),
        Growth(name="a summary from the whole log", amount="events in the log", points=read),
    )


def resumes(counts: Sequence[int] = (10, 100, 1_000, 10_000)) -> Growth:
    """Measure the computation of a run's history by its resumes, each of which repeats half of the steps."""
    points = []
    for count in counts:
        recorded: list[Event] = []
        for offset in range(0, 20 * count, 20):
            recorded += [events.Step(step=offset + index, offset=offset + index) for index in range(20)]
            recorded.append(events.RunResumed(from_step=offset + 10, from_offset=offset + 10, offset=offset + 20))
        points.append(_point(count, partial(history, recorded), torch.device("cpu"), clock=time.process_time))
    return Growth(name="a logical history", amount="resumes", points=points)


def all_of(device: torch.device, command: list[str], longest: int = 1_000_000) -> Iterator[Growth]:
    """Measure and yield each growth, with logs of up to `longest` events."""
    yield pixels(device)
    yield batch(device)
    yield runs(command)
    yield resumes()
    yield from log([10**power for power in range(3, 12) if 10**power <= longest])


def plot(growths: Sequence[Growth]) -> LinePlot:
    """Plot cost against work, both as multiples of the smallest amount's, with a line of linear growth."""
    curves = [_relative(growth) for growth in growths]
    most = max(x for curve in curves for x in curve.x)
    return LinePlot(
        title="How cost grows with the work",
        x="amount of work, in multiples of the smallest",
        y="seconds, in multiples of the smallest amount's",
        curves=[*curves, Curve("linear", [1, most], [1, most])],
        log_x=True,
        log_y=True,
    )


def _relative(growth: Growth) -> Curve:
    first = growth.points[0]
    x = [point.amount / first.amount for point in growth.points]
    y = [point.seconds / first.seconds for point in growth.points]
    return Curve(f"{growth.name}, by {growth.amount}", x, y)


def _point(
    amount: int,
    work: Callable[[], object],
    device: torch.device,
    *,
    clock: Callable[[], float] | None = None,
    repeats: int = 3,
) -> Point:
    clock = clock or clock_of(device)
    work()
    return Point(amount, min(seconds_of(work, clock) for _ in range(repeats)), repeats)
