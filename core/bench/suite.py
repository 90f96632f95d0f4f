"""All measurements of the program's speed on one machine, part by part, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch

from dipddpm.core.bench import console, goals, growth, kept, program, published, rates, roofline, works
from dipddpm.core.bench.console import Idle
from dipddpm.core.bench.growth import Growth
from dipddpm.core.bench.program import TimingRow
from dipddpm.core.bench.quality import Draw
from dipddpm.core.bench.rates import Rate
from dipddpm.core.bench.roofline import Machine
from dipddpm.core.compute import devices
from dipddpm.core.errors import UserError, suggest

PARTS = ("start-up", "log", "console", *works.PARTS, "goals", "growth")
"""What is measured, in this order; the last ones take longest."""


class BenchReport(msgspec.Struct, kw_only=True):
    """What was measured so far."""

    torch: str
    processor: str
    machine: Machine | None = None
    rows: list[TimingRow] = []
    """Seconds, each beside what they are compared with."""
    idle: Idle | None = None
    rates: list[Rate] = []
    draws: list[Draw] = []
    growth: list[Growth] = []

    def save(self, path: Path) -> None:
        """As JSON. Raises OSError."""
        kept.save(path, self)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of these names, in their order; all where none are named. Raises UserError for others."""
    for name in names:
        if name not in PARTS:
            raise UserError(f"There is no part {name!r} of the benchmark.", suggest(name, PARTS))
    return tuple(part for part in PARTS if part in names or not names)


def measure(
    parts: Sequence[str],
    device: torch.device,
    cli: list[str],
    tui: list[str],
    *,
    against: Path | None = None,
    longest: int = 1_000_000,
) -> Iterator[tuple[str, BenchReport]]:
    """Measure the parts, in turn: what was done last, and the report so far.

    `cli` and `tui` are the commands of the two programs; `against` is a checkout of the published code, and
    `longest` how many events the longest log has.
    """
    report = BenchReport(torch=str(torch.__version__), processor=devices.describe(device))
    if against is not None:
        report.rows += published.compare(published.load(against), device)
        yield "against the published code", report
    for part in parts:
        match part:
            case "start-up":
                report.rows += program.start_up(cli)
            case "log":
                report.rows += program.event_log()
            case "console":
                report.rows += console.start(tui)
                report.idle = console.idle(tui)
            case "goals":
                for row in goals.rows(device):
                    report.rows.append(row)
                    yield f"{part}: {row.name}", report
                if device.type == "cuda":
                    report.draws = goals.distances(device)
            case "growth":
                for grown in growth.all_of(device, cli, longest):
                    report.growth.append(grown)
                    yield f"{part}: {grown.name}", report
            case _:
                report.machine = report.machine or roofline.measure(device)
                for rate in rates.measured(list(works.PARTS[part](device)), report.machine):
                    report.rates.append(rate)
                    yield f"{part}: {rate.name}", report
        yield part, report
