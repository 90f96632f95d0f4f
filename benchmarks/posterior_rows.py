"""The rows of the comparison of posterior samplers with the exact posterior, and their tables."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from dipddpm.core.evaluation.intervals import Interval, interval
from dipddpm.core.means import mean

SAMPLES = (1, 8, 32)
"""Numbers of samples whose mean is compared; the last one is drawn, and gives the coverage."""

DIVERGED = 100
"""Samples whose variance is more than this many times the exact one have diverged."""


class Sampler(NamedTuple):
    """A row of the table: a method with its options, and its number of steps; 0 steps are the exact posterior."""

    label: str
    method: str = ""
    steps: int = 0
    options: Mapping[str, float] = MappingProxyType({})


EXACT = Sampler("exact")
SAMPLERS = (
    EXACT,
    *(
        Sampler(label, method, steps, options)
        for label, method, options, all_steps in (
            ("ddnm, ddrm", "ddnm", {}, (20, 100)),
            ("diffpir", "diffpir", {}, (20, 100)),
            ("dps", "dps", {}, (20, 100)),
            ("pigdm", "pigdm", {}, (20, 100)),
            ("mmps 1", "mmps", {"iterations": 1}, (20, 100)),
            ("mmps 2", "mmps", {"iterations": 2}, (20,)),
            ("mmps 3", "mmps", {"iterations": 3}, (20, 100)),
        )
        for steps in all_steps
    ),
)
"""The rows; DDNM+ without time travel is DDRM with its usual options, so that one row serves both."""
LONG = Sampler("mmps 8", "mmps", 500, {"iterations": 8})
"""MMPS in many steps with many iterations, which should be exact for Gaussian images, and is measured on them alone."""


class Row(NamedTuple):
    """The measurements of a sampler on one image: PSNR in dB, variances and distances in squared grey levels."""

    images: str
    task: str
    method: str
    steps: int
    image: int
    psnr_of_exact: float
    psnr_of_1: float
    psnr_of_8: float
    psnr_of_32: float
    exact_variance: float
    """Mean variance of the exact posterior, which is the mean squared error of its mean."""
    variance: float
    """Mean variance of the sampler's samples."""
    distance: float
    """Mean squared distance of the mean of 32 samples from the exact posterior mean."""
    covered_50: float
    covered_90: float
    effective: float
    """Effective number of the population's images in the exact posterior, exp(entropy)."""
    nfe: int
    cpu_seconds: float
    """CPU seconds of one sample."""

    @property
    def limit(self) -> float:
        """Expected loss in dB of the mean of infinitely many samples against the exact posterior mean.

        The expected squared error of an estimate is the exact posterior's variance plus its squared distance from the
        exact mean, of which the variance of the samples over their number is due to their finite number. NaN for
        samples that have diverged, whose variance hides any distance.
        """
        if self.variance > DIVERGED * self.exact_variance:
            return math.nan
        bias = self.distance - self.variance / SAMPLES[-1]
        return 10 * math.log10(max(1 + bias / self.exact_variance, 1e-9))

    @property
    def spread(self) -> float:
        """Standard deviation of the samples as a share of the exact posterior's."""
        return math.sqrt(self.variance / self.exact_variance)


def samplers(name: str) -> tuple[Sampler, ...]:
    """Return the rows of a distribution's tables."""
    return (*SAMPLERS, LONG) if name == "gaussian" else SAMPLERS


def load(path: Path) -> list[Row]:
    """Read the rows of a CSV file; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [msgspec.convert(line, Row, strict=False) for line in list(csv.reader(file))[1:]]


def save(path: Path, rows: Sequence[Row]) -> None:
    """Append rows to a CSV file; a new one begins with a heading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heading: list[Sequence[str]] = [] if path.is_file() else [Row._fields]
    lines = [[f"{value:.5g}" if isinstance(value, float) else str(value) for value in row] for row in rows]
    with path.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*heading, *lines])


def title(rows: Sequence[Row]) -> str:
    """Describe one or more tasks: their distribution, and the exact posterior."""
    exact = [row for row in rows if row.steps == 0]
    tasks = sorted({row.task for row in exact})
    deviation = math.sqrt(mean([row.exact_variance for row in exact]))
    effective = [row.effective for row in exact]
    return (
        f"{rows[0].images}, {tasks[0] if len(tasks) == 1 else f'mean of {len(tasks)} tasks'}: "
        f"{len(exact) // len(tasks)} images; the exact posterior mean has "
        f"{mean([row.psnr_of_exact for row in exact]):.2f} dB, the posterior a standard deviation of {deviation:.1f} "
        f"levels and {min(effective):.1f} to {max(effective):.1f} effective images, "
        f"median {statistics.median(effective):.1f}"
    )


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the table of the rows' tasks: what each sampler loses against the exact posterior, and its coverage.

    Bounds are over images, each with its mean over the tasks.
    """
    lines: list[tuple[str, ...]] = [
        (
            "METHOD",
            "NFE",
            *(f"LOSS OF {count}, dB" for count in SAMPLES),
            "OF INFINITELY MANY",
            "DISTANCE",
            "SPREAD",
            "IN 50%",
            "IN 90%",
            "CPU SECONDS",
        )
    ]
    losses: list[Callable[[Row], float]] = [
        lambda row: row.psnr_of_exact - row.psnr_of_1,
        lambda row: row.psnr_of_exact - row.psnr_of_8,
        lambda row: row.psnr_of_exact - row.psnr_of_32,
        lambda row: row.limit,
    ]
    for sampler in samplers(rows[0].images):
        own = [row for row in rows if (row.method, row.steps) == (sampler.label, sampler.steps)]
        if own:
            lines.append(
                (
                    sampler.label,
                    str(own[0].nfe),
                    *(decibels(over_images(own, loss)) for loss in losses),
                    f"{math.sqrt(mean([row.distance for row in own])):.1f}",
                    f"{mean([row.spread for row in own]):.2f}",
                    percent(over_images(own, lambda row: 100 * row.covered_50)),
                    percent(over_images(own, lambda row: 100 * row.covered_90)),
                    f"{mean([row.cpu_seconds for row in own]):.3f}",
                )
            )
    return lines


def over_images(rows: Sequence[Row], value: Callable[[Row], float]) -> Interval:
    """Return the mean of a value with its bounds over images; the tasks of an image are averaged first."""
    images: dict[int, list[float]] = {}
    for row in rows:
        images.setdefault(row.image, []).append(value(row))
    return interval([mean(values) for values in images.values()])


def decibels(loss: Interval) -> str:
    """Return a mean with its bounds, or a word where samples have diverged."""
    return "diverges" if math.isnan(loss.mean) else str(loss)


def percent(shares: Interval) -> str:
    """Return a mean in percent with its bounds, without decimals."""
    bounds = "no bounds" if shares.lower is None else f"{shares.lower:.0f}, {shares.upper:.0f}"
    return f"{shares.mean:.0f} [{bounds}]"
