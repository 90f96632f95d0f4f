"""The comparison of starts of a diffusion sampler: how soon each one is as good as pure noise at its best.

Loads no torch.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from dipddpm.core.config.hybrid import is_hybrid
from dipddpm.core.evaluation.cell import Cell, paired_differences, seeds, span
from dipddpm.core.evaluation.intervals import interval, pooled
from dipddpm.core.evaluation.rows import MethodScores
from dipddpm.core.evaluation.scoreboard import VerdictBoard, differences_by_set
from dipddpm.core.events import RestorationsCompared
from dipddpm.core.io.sanitize import wrapped
from dipddpm.core.means import decibels, psnr_mean

TOLERANCE = 0.1
"""PSNR in dB by which a start may be below pure noise at its best, and still counts as equally good."""
NOISE, LLE, DIP = "noise", "lle", "dip"
ALONE = ("pinv", "classic", DIP)
"""The starts that are restorations themselves."""
RUNGS = ("in-place", "mixed", "noised")
"""Wrong uses of DIP's result, which stand in place of a sampler's name in a `Variant`, from the published one on.

The result takes the place of xT, is half of it beside noise, or has the noise of t0. None uses the measurement.
"""
_LABEL = re.compile(r"([a-z]+) > ([a-z-]+) (\d+) x(\d+)")


class Variant(NamedTuple):
    """A start, the sampler that begins there, its evaluations of the network for a sample, and the number of samples.

    The result is the mean of the samples.
    """

    start: str
    sampler: str
    nfe: int
    samples: int

    @property
    def label(self) -> str:
        """The method's name in events and tables, such as `dip > diffpir 10 x8`."""
        return f"{self.start} > {self.sampler} {self.nfe} x{self.samples}"

    @classmethod
    def parse(cls, label: str) -> Self | None:
        """Read a label; None for the name of another method."""
        match = _LABEL.fullmatch(label)
        return cls(match[1], match[2], int(match[3]), int(match[4])) if match else None


class Reached(NamedTuple):
    """The row with which a start is soonest as good as pure noise at its best, or else its best row."""

    variant: Variant
    label: str
    psnr: float
    seconds: float
    """For each image, with the start's own time."""
    reaches: bool

    @property
    def how(self) -> str:
        """Its seconds, sampler and evaluations in words."""
        _, sampler, nfe, _ = self.variant
        return f"{seconds_text(self.seconds)} ({f'{sampler}, {nfe} NFE' if sampler else 'alone'})"


class AccelerationBoard(VerdictBoard):
    """The results of all starts and samplers by cell, how soon each start is as good as pure noise, and verdicts."""

    def variants(self, cell: Cell) -> dict[Variant, MethodScores]:
        """Return the rows of a cell that use a start rightly; a start alone has no sampler and no evaluations."""
        rows: dict[Variant, MethodScores] = {}
        for (method, _), row in cell.rows.items():
            if method in ALONE:
                rows |= {Variant(method, "", 0, samples): row for samples in self.samples(cell)}
            elif (variant := Variant.parse(method)) and variant.sampler not in RUNGS:
                rows[variant] = row
        return rows

    def samples(self, cell: Cell) -> list[int]:
        """Return the numbers of samples that are averaged in a cell."""
        return sorted({variant.samples for method, _ in cell.rows if (variant := Variant.parse(method))})

    def goal(self, cell: Cell, samples: int) -> tuple[Variant, MethodScores] | None:
        """Return the best row that begins at pure noise with so many samples; None without any."""
        rows = [(v, row) for v, row in self.variants(cell).items() if (v.start, v.samples) == (NOISE, samples)]
        return max(rows, key=lambda pair: pair[1].mean, default=None)

    def reached(self, cell: Cell, samples: int) -> list[Reached]:
        """Return for each start how soon it is within `TOLERANCE` of the goal, the soonest first, then the others."""
        goal, variants = self.goal(cell, samples), self.variants(cell)
        if goal is None:
            return []
        target = goal[1].mean.value - TOLERANCE
        results = []
        for start in dict.fromkeys(v.start for v in variants):
            rows = [(v, row) for v, row in variants.items() if (v.start, v.samples) == (start, samples)]
            good = [pair for pair in rows if pair[1].mean.value >= target]
            chosen = (
                min(good, key=lambda pair: pair[1].seconds_per_image)
                if good
                else max(rows, key=lambda pair: pair[1].mean)
            )
            variant, row = chosen
            results.append(Reached(variant, row.method, row.mean.value, row.seconds_per_image, bool(good)))
        return sorted(results, key=lambda r: (not r.reaches, r.seconds if r.reaches else -r.psnr))

    def gain_in_time(self, cell: Cell) -> tuple[MethodScores, MethodScores, dict[int, float]] | None:
        """Return DIP's best row, the best row of any other start in at most its seconds, and the images' differences.

        Both are chosen by the means over the same images. None if one of the two is missing.
        """
        variants = self.variants(cell)
        ours = max((row for v, row in variants.items() if v.start == DIP), key=lambda row: row.mean, default=None)
        if ours is None:
            return None
        others = [
            row for v, row in variants.items() if v.start != DIP and row.seconds_per_image <= ours.seconds_per_image
        ]
        best = max(others, key=lambda row: row.mean, default=None)
        return (ours, best, paired_differences(ours, best)) if best else None

    def headline(self, step: int = 0) -> RestorationsCompared | None:
        """Return the PSNR of DIP's start, and its gain over every other start in the same time; None without it."""
        found = [(cell, gain) for cell in self.cells.values() if (gain := self.gain_in_time(cell))]
        if not found:
            return None
        ours = [gain[0] for _, gain in found]
        mean_gain = pooled(differences_by_set((cell, differences) for cell, (_, _, differences) in found))
        return RestorationsCompared(
            method="DIP's start",
            psnr=psnr_mean([row.mean.value for row in ours]).value,
            cells=len(found),
            gain=mean_gain.mean,
            lower=mean_gain.lower,
            upper=mean_gain.upper,
            left_out=mean_gain.left_out,
            against="the best other start in the same time",
            images=min(len(row.psnr) for row in ours),
            seeds=min(len(values) for row in ours for values in row.by_image.values()),
            step=step,
        )

    def verdicts(self) -> list[str]:
        """Say in words which start is soonest as good as pure noise in each cell, and what DIP's start gains."""
        texts = [text for cell in self.cells.values() for text in self._cell_verdicts(cell)]
        gains = [(cell, gain[2]) for cell in self.cells.values() if (gain := self.gain_in_time(cell))]
        if len(gains) > 1:
            size = f"{len(gains)} cells, {span([len(d) for _, d in gains], 'image')}, {seeds([c for c, _ in gains])}"
            text = pooled(differences_by_set(gains)).text(" dB")
            texts.insert(0, f"DIP's start - the best other start in the same time: {text} ({size})")
        return texts

    def blocks(self, width: int) -> list[list[str]]:
        """Return a table of PSNR by start, sampler and evaluations for each cell."""
        return [self._block(cell, width) for cell in self.cells.values() if cell.rows]

    def _cell_verdicts(self, cell: Cell) -> list[str]:
        texts = []
        for samples in self.samples(cell):
            reached = self.reached(cell, samples)
            noise = next((each for each in reached if each.variant.start == NOISE), None)
            if noise is None:
                continue
            soonest = reached[0]
            if soonest is noise:
                text = f"no start is sooner than pure noise at its best, {noise.how}"
            else:
                text = f"{soonest.variant.start} is soonest as good as pure noise at its best, in {soonest.how}"
                text += f"; pure noise takes {noise.how}"
            texts.append(f"{cell.name}, {samples_text(samples)}: {text}")
        if gain := self.gain_in_time(cell):
            ours, best_row, differences = gain
            words = interval([*differences.values()]).text(" dB")
            texts.append(f"{cell.name}: {ours.method} - {best_row.method}, the best of the others in its time: {words}")
        return texts

    def _block(self, cell: Cell, width: int) -> list[str]:
        """Return a cell's tables: rows are starts with samplers, columns evaluations; then the other methods."""
        rows = {Variant.parse(method): row for (method, _), row in cell.rows.items()}
        variants = {variant: row for variant, row in rows.items() if variant}
        nfes = sorted({variant.nfe for variant in variants})
        lines = wrapped(f"{cell.name} ({cell.size})", width, "  ")
        for samples in self.samples(cell):
            lines.append(f"  PSNR, {samples_text(samples)}; NFE".ljust(30) + "".join(f"{nfe:>7}" for nfe in nfes))
            for start, sampler in dict.fromkeys((v.start, v.sampler) for v in variants):
                found = [variants.get(Variant(start, sampler, nfe, samples)) for nfe in nfes]
                if any(found):
                    values = "".join(f"{decibels(row.mean.value, '') if row else '':>7}" for row in found)
                    lines.append(f"  {start} > {sampler}".ljust(30) + values)
        lines += self._seconds_lines(cell)
        others = [row for (method, _), row in cell.rows.items() if not Variant.parse(method)]
        if others:
            lines.append("  other methods".ljust(30) + "   PSNR  s/image")
        for row in others:
            role = "hybrid" if is_hybrid(row.method) else "alone"
            label = f"  {row.method} ({role})".ljust(30)
            lines.append(f"{label}{decibels(row.mean.value, ''):>7}{row.seconds_per_image:>9.3f}")
        return [line.rstrip() for line in lines]

    def _seconds_lines(self, cell: Cell) -> list[str]:
        """Return a table of the seconds after which each start is within `TOLERANCE` of pure noise at its best."""
        lines, starts = [], dict.fromkeys(variant.start for variant in self.variants(cell) if variant.sampler)
        for samples in self.samples(cell):
            if not (goal := self.goal(cell, samples)):
                continue
            found = {each.variant.start: each for each in self.reached(cell, samples)}
            values = [_seconds_cell(found.get(start)) for start in starts]
            label = f"  {samples_text(samples)}, >={decibels(goal[1].mean.value - TOLERANCE, '')}"
            lines.append(label.ljust(30) + "".join(f"{value:>9}" for value in values))
        head = "  seconds to pure noise's best".ljust(30) + "".join(f"{start:>9}" for start in starts)
        return [head, *lines] if lines else []


def seconds_text(seconds: float) -> str:
    """Return seconds with two significant digits: 0.24 s."""
    return f"{float(f'{seconds:.2g}'):g} s" if seconds >= 0.001 else "under 0.001 s"


def _seconds_cell(reached: Reached | None) -> str:
    if reached is None:
        return ""
    return seconds_text(reached.seconds).removesuffix(" s").replace("under ", "<") if reached.reaches else "never"


def samples_text(samples: int) -> str:
    """Return how many samples a result is the mean of, in words."""
    return "one sample" if samples == 1 else f"mean of {samples} samples"
