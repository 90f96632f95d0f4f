"""`dipddpm bench`: measure how fast this machine trains, fits and samples, and how long jobs take on it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dipddpm.core.compute import devices
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.help import MACHINE
from dipddpm.tui.cli.options import DEVICES, Json
from dipddpm.tui.cli.output import print_json, print_table
from dipddpm.tui.shared.durations import format_duration

if TYPE_CHECKING:
    from dipddpm.core.bench.rates import Rate
    from dipddpm.core.bench.roofline import Machine

LIMIT_NOTE = """\
LIMIT is the share of the highest rate that this machine's own matrix product and copy allow; a share above 1 means
that the tensors stayed in a cache. A rate is the median of the repeats, ± half their range."""


def bench(
    *,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help=DEVICES, rich_help_panel=MACHINE, autocompletion=complete.devices)
    ] = "auto",
    threads: Annotated[
        int, typer.Option(metavar="N", min=0, help="CPU threads; 0 means all cores.", rich_help_panel=MACHINE)
    ] = 0,
    json: Json = False,
) -> None:
    """Measure how fast this machine trains, fits and samples.

    Examples:
        dipddpm bench
        dipddpm bench --device cpu --threads 2 --json

    It prints each rate and its share of the highest rate that this machine allows, how long typical jobs take, and the
    options that make the work faster here. It takes a minute or two on 2 cores.
    """
    usable = devices.candidates(device)
    import torch

    from dipddpm.core.bench import rates, roofline, speed

    if threads:
        torch.set_num_threads(threads)
    resolved_device = devices.resolve(usable[0])
    processor = devices.describe(resolved_device)
    machine = roofline.measure(resolved_device)
    measured = []
    for rate in rates.measure(list(speed.standard(resolved_device)), machine):
        measured.append(rate)
        print(printable(f"{rate.part}, {rate.name} {rate.options}"), file=sys.stderr)
    advice = rates.advice(measured)
    if json:
        report = {
            "torch": str(torch.__version__),
            "processor": processor,
            "machine": machine,
            "rates": measured,
            "advice": advice,
        }
        print_json(report)
        return
    print_machine(machine, processor)
    print()
    print_rates(measured)
    print(f"\n{LIMIT_NOTE}\n")
    fastest: dict[str, float] = {}
    for rate in measured:
        for job, seconds in rate.waits.items():
            fastest[job] = min(seconds, fastest.get(job, seconds))
    times = (f"{seconds:.1f}s" if seconds < 60 else format_duration(seconds) for seconds in fastest.values())
    print_table([("JOB", "TIME, FASTEST FORM"), *zip(fastest, times, strict=True)])
    print("\n" + "\n".join(advice))


def print_machine(machine: Machine, processor: str) -> None:
    """Print the device and its highest measured rates."""
    header = ("DEVICE", "THREADS", "COPY", *(f"MATRIX PRODUCT, {precision}" for precision in machine.flops))
    flops = (f"{value / 1e9:,.0f} GFLOP/s" for value in machine.flops.values())
    name = printable(f"{machine.device}, {processor}")
    print_table([header, (name, str(machine.threads or ""), f"{machine.bandwidth / 1e9:,.1f} GB/s", *flops)])


def print_rates(rates: Sequence[Rate]) -> None:
    """Print the rates, and the cost of a unit of work."""
    table = [("WORK", "PER SECOND", "", "UNIT", "MFLOP", "MB", "LIMIT", "WARM-UP", "OPTIONS")]
    for rate in rates:
        speed = (f"{rate.per_second:,.2f}", f"±{rate.spread:.2f}", rate.unit)
        cost = (f"{rate.flops / 1e6:,.1f}", f"{rate.bytes / 1e6:,.1f}", f"{rate.share:.2f}", f"{rate.warm_up:.1f} s")
        table.append((f"{rate.part}, {rate.name}", *speed, *cost, rate.options))
    print_table(table)
