"""Timings of functions, measured in turns and compared with a baseline."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import msgspec

from dipddpm.tui.cli.output import print_table


class TimingRow(msgspec.Struct, frozen=True):
    """A measured time and its baseline: `ratio` is the ratio of medians, `spread` half the range of measurements."""

    name: str
    seconds: float
    spread: float
    against: str
    ratio: float
    repeats: int


def side_by_side(
    baseline: str, work: Mapping[str, Callable[[], float]], *, repeats: int, warm_up: int = 1
) -> list[TimingRow]:
    """Measure functions in turns, so that other work on the machine slows all of them equally.

    Each function returns its own seconds. The baseline's row has ratio 1.
    """
    for _ in range(warm_up):
        for function in work.values():
            function()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, function in work.items():
            times[name].append(function())
    base = statistics.median(times[baseline])
    return [
        TimingRow(
            name=name,
            seconds=statistics.median(seconds),
            spread=(max(seconds) - min(seconds)) / 2,
            against=baseline,
            ratio=statistics.median(seconds) / base,
            repeats=repeats,
        )
        for name, seconds in times.items()
    ]


def seconds_of(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the seconds that one call takes."""
    began = clock()
    work()
    return clock() - began


def print_rows(rows: Sequence[TimingRow]) -> None:
    """Print rows as a table."""
    header = ("SECONDS", "MEDIAN", "SPREAD", "RATIO", "AGAINST")
    print_table(
        [header, *((r.name, f"{r.seconds:.3f}", f"±{r.spread:.3f}", f"{r.ratio:.3f}", r.against) for r in rows)]
    )
