"""A scoreboard of restorations of the same images, with each hybrid compared with its baselines. Loads no torch.

A cell is a task on a set of images. An image that was degraded with several seeds counts once, with its mean score.
The scoreboard is built from the events in a log.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from dipddpm.core.config import HYBRIDS
from dipddpm.core.evaluation.intervals import Interval, interval, pooled
from dipddpm.core.events import Event, RestorationMissing, RestorationsCompared, RestorationScored
from dipddpm.core.io.sanitize import wrapped
from dipddpm.core.means import PsnrMean, decibels, mean, mean_without_infinite, psnr_mean

DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN = "dip-mean", "ddpm-mean", "posterior-mean"
BASELINES = {"DIP": (DIP_MEAN,), "DDPM": (DDPM_MEAN, POSTERIOR_MEAN)}
"""The methods of each baseline family; the one with the best mean in a cell represents its family there."""
Cost: TypeAlias = Literal["nfe", "iterations", "runs", "seconds"]
COSTS: tuple[Cost, ...] = get_args(Cost)
CONTROLS = {"conditioned": "conditioned-pinv"}
"""The control of a hybrid, by the hybrid's name: the same method without DIP's contribution."""


@dataclass
class MethodScores:
    """The scores of a method in one cell; `budget_of` names the hybrid whose time it was given, if any."""

    method: str
    budget_of: str = ""
    scored: list[RestorationScored] = field(default_factory=list)

    @property
    def psnr(self) -> list[float]:
        """The PSNR of each image in dB, averaged over seeds; infinite for an image that is exact with every seed."""
        return [mean_without_infinite(values) for values in zip(*(scored.psnr for scored in self.scored), strict=False)]

    @property
    def mean(self) -> PsnrMean:
        """The PSNR in dB, averaged over all images."""
        return psnr_mean(self.psnr)

    @property
    def ssim(self) -> float | None:
        """The SSIM, averaged over all images; None if the images are too small for it."""
        values = [value for scored in self.scored for value in scored.ssim]
        return mean(values) if values else None

    @property
    def accuracy(self) -> float | None:
        """The share of images that the classifier recognised; None if they have no classes."""
        values = [float(value) for scored in self.scored for value in scored.recognised]
        return mean(values) if values else None

    def average(self, cost: Cost) -> float:
        """Return a cost of the method, averaged over seeds.

        `seconds` are for all images together. `nfe` (evaluations of the diffusion network) and `iterations` (of
        untrained networks) are per image. `runs` is the number of restarts or samples that are averaged.
        """
        return mean([getattr(scored, cost) for scored in self.scored])

    @property
    def knows(self) -> tuple[str, ...]:
        """What the method was given or found out; empty in older logs."""
        return self.scored[0].knows if self.scored else ()

    def table_cells(self) -> dict[str, str]:
        """Return the texts of the method's table cells by column heading, without values that weren't measured."""
        nfe, iterations, runs, seconds = map(self.average, COSTS)
        numbers = {
            "PSNR": decibels(self.mean.value, ""),
            "exact": f"{self.mean.exact}" if self.mean.exact else "",
            "SSIM": "" if self.ssim is None else f"{self.ssim:.3f}",
            "class": "" if self.accuracy is None else f"{self.accuracy:.0%}",
            "NFE": f"{nfe:.0f}" if nfe else "",
            "iter": f"{iterations:.0f}" if iterations else "",
            "runs": f"{runs:.0f}" if runs > 1 else "",
            "seconds": f"{seconds:.1f}",
        }
        return {head: text for head, text in numbers.items() if text}


@dataclass
class Cell:
    """All methods on one task and one set of images; a method that failed with any seed is in `missing`, not `rows`."""

    task: str
    set: str
    rows: dict[tuple[str, str], MethodScores] = field(default_factory=dict)
    missing: dict[str, RestorationMissing] = field(default_factory=dict)

    def add(self, event: RestorationScored | RestorationMissing) -> None:
        """Add a method's result, or the reason why it has none."""
        if isinstance(event, RestorationMissing):
            self.missing[event.method] = event
            for key in [key for key in self.rows if event.method in key]:
                del self.rows[key]
        elif not {event.method, event.budget_of} & self.missing.keys():
            key = (event.method, event.budget_of)
            row = self.rows.setdefault(key, MethodScores(*key))
            row.scored = [*(earlier for earlier in row.scored if earlier.seed != event.seed), event]

    @property
    def name(self) -> str:
        """The heading of the cell."""
        return f"{self.task} on {self.set}" if self.set else self.task

    def baseline(self, hybrid: str, family: str = "") -> MethodScores | None:
        """Return the best baseline of a family (`DIP`, `DDPM`) or of both that took at most the hybrid's time.

        None if one of the family's methods failed, since the remaining ones alone might be too easy to beat.
        """
        methods = [method for name in ([family] if family else BASELINES) for method in BASELINES[name]]
        if any(method in self.missing and self.missing[method].failed for method in methods):
            return None
        candidates = [
            self.rows[key] for method in methods for key in ((method, hybrid), (method, "")) if key in self.rows
        ]
        return max(candidates, key=lambda row: row.mean, default=None)

    def differences(self, hybrid: str, against: str = "") -> list[float]:
        """Return the hybrid's PSNR minus the best baseline's (of the family `against`), image by image."""
        return _differences(self.rows.get((hybrid, "")), self.baseline(hybrid, against))

    def gain(self, hybrid: str, against: str = "") -> Interval | None:
        """Return the mean of `differences` with its bounds; None without differences."""
        differences = self.differences(hybrid, against)
        return interval(differences) if differences else None

    def knowledge(self) -> list[str]:
        """List what the methods know besides y, the operator and the kind of noise; empty for an older log."""
        methods: dict[tuple[str, ...], list[str]] = {}
        for row in self.rows.values():
            if row.method not in methods.setdefault(row.knows, []):
                methods[row.knows].append(row.method)
        if not any(methods):
            return []
        return [f"  knows {', '.join(knows) or 'no more'}: {', '.join(names)}" for knows, names in methods.items()]

    def verdicts(self) -> list[str]:
        """Describe each hybrid's gain over the better baseline in equal time, and over its control, with bounds."""
        return [
            f"{hybrid} - {other.method}: {interval(differences).text(' dB')}"
            for hybrid in (method for method, _ in self.rows if method in HYBRIDS)
            for other in (self.baseline(hybrid), self.rows.get((CONTROLS.get(hybrid, ""), "")))
            if other and (differences := _differences(self.rows.get((hybrid, "")), other))
        ]


class Scoreboard:
    """The results of restorations by cell, from the events of a log; events of other kinds are ignored."""

    def __init__(self, history: Iterable[Event]) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        for event in history:
            if isinstance(event, RestorationScored | RestorationMissing):
                self.cells.setdefault((event.task, event.set), Cell(event.task, event.set)).add(event)

    @property
    def hybrids(self) -> list[str]:
        """The hybrids on the board, in the order of their first result."""
        methods = dict.fromkeys(method for cell in self.cells.values() for method, _ in cell.rows)
        return [method for method in methods if method in HYBRIDS]

    def groups(self) -> dict[str, list[Cell]]:
        """Return the groups of cells that are averaged: inpainting, the others and all, each only if it has several."""
        everything = list(self.cells.values())
        inpainting = [cell for cell in everything if cell.task.startswith("inpaint")]
        groups = {"inpainting": inpainting, "others": [cell for cell in everything if cell not in inpainting]}
        groups = {name: cells for name, cells in groups.items() if 1 < len(cells) < len(everything)}
        return groups | ({"all": everything} if len(everything) > 1 else {})

    def gain(self, hybrid: str, cells: Sequence[Cell], against: str = "") -> Interval | None:
        """Return the mean gain over cells; an image degraded by several tasks counts once, with its mean difference."""
        by_set: dict[str, list[list[float]]] = {}
        for cell in cells:
            if differences := cell.differences(hybrid, against):
                by_set.setdefault(cell.set, []).append(differences)
        strata = [[mean_without_infinite(values) for values in zip(*tasks, strict=False)] for tasks in by_set.values()]
        return pooled(strata) if strata else None

    def headline(self, step: int = 0) -> RestorationsCompared | None:
        """Return the first hybrid's PSNR and gain, averaged over its cells; None without a hybrid."""
        if not self.hybrids:
            return None
        hybrid = self.hybrids[0]
        cells = [cell for cell in self.cells.values() if (hybrid, "") in cell.rows]
        means = [cell.rows[hybrid, ""].mean for cell in cells]
        gain = self.gain(hybrid, cells)
        return RestorationsCompared(
            method=hybrid,
            psnr=psnr_mean([mean.value for mean in means]).value,
            exact=sum(mean.exact for mean in means),
            cells=len(cells),
            gain=gain and gain.mean,
            lower=gain and gain.lower,
            upper=gain and gain.upper,
            left_out=gain.left_out if gain else 0,
            step=step,
        )

    def absences(self) -> list[str]:
        """List the methods without a result, each with the reason and, unless these are all cells, its cells."""
        cells_by_reason: dict[tuple[str, str], list[str]] = {}
        for cell in self.cells.values():
            for event in cell.missing.values():
                label = f"{event.method} {'failed' if event.failed else 'n/a'}"
                cells_by_reason.setdefault((label, event.why), []).append(cell.name)
        lines = []
        for (label, why), names in cells_by_reason.items():
            where = "" if len(names) == len(self.cells) else f" ({', '.join(names)})"
            lines.append(f"{label}{where}: {why}")
        return lines

    def means(self) -> list[str]:
        """Describe each hybrid's mean gain over several cells: over the better baseline, and over each family."""
        return [
            f"{hybrid} - {against or 'better baseline'}: {gain.text(' dB')}, mean of {compared} {GROUP_NAMES[name]}"
            for hybrid in self.hybrids
            for name, cells in self.groups().items()
            for against in ("", *BASELINES)
            if (gain := self.gain(hybrid, cells, against))
            and (compared := sum(bool(cell.differences(hybrid, against)) for cell in cells)) > 1
        ]

    def verdicts(self) -> list[str]:
        """Return the means over cells or, if there are no groups of cells, the gains in each cell."""
        return self.means() or [f"{cell.name}: {text}" for cell in self.cells.values() for text in cell.verdicts()]

    def lines(self, width: int = 79, *, newest_first: bool = False) -> list[str]:
        """Return the board as text: each cell's gains and table, the means over cells, and the methods without result.

        Columns that don't fit into `width` are left out; `newest_first` reverses the cells, for live display.
        """
        cells = self.cells.values()
        keys = list(dict.fromkeys(key for cell in cells for key in (*cell.rows, *((m, "") for m in cell.missing))))
        label = max((len(method_label(*key)) for key in keys), default=0) + 2
        has_exact = any(row.mean.exact for cell in cells for row in cell.rows.values())
        heads = [
            head
            for head in COLUMN_WIDTHS
            if (has_exact or head != "exact")
            and label + sum(COLUMN_WIDTHS[h] for h in _COLUMN_PRIORITY[: _COLUMN_PRIORITY.index(head) + 1]) <= width
        ]
        blocks = [self._block(cell, keys, label, heads, width) for cell in self.cells.values()]
        means = [self.means()] if self.groups() else []
        blocks = [*means, *reversed(blocks)] if newest_first else [*blocks, *means]
        if absences := self.absences():
            blocks.append([line for text in absences for line in wrapped(text, width, "  ")])
        return [line for block in blocks for line in ("", *block)][1:]

    def summary(self) -> list[str]:
        """Return for each hybrid a table of its PSNR and its baselines' in equal time, cell by cell, and a conclusion.

        Cells in which a baseline has no score are left out; the list is empty if no cell is left.
        """
        tasks, sets = ({getattr(cell, key) for cell in self.cells.values()} for key in ("task", "set"))
        lines: list[str] = []
        for hybrid in self.hybrids:
            compared = {
                cell.set if len(tasks) == 1 else cell.task if len(sets) == 1 else cell.name: (cell, gain)
                for cell in self.cells.values()
                if all(cell.baseline(hybrid, family) for family in BASELINES) and (gain := cell.gain(hybrid))
            }
            if not compared:
                continue
            rows = [("", hybrid, *BASELINES, "gain over the better [95% bounds]")]
            for label, (cell, gain) in compared.items():
                methods = [cell.rows[hybrid, ""], *(cell.baseline(hybrid, family) for family in BASELINES)]
                rows.append((label, *(decibels(method.mean, "") for method in methods if method), str(gain)))
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += [
                *([""] if lines else []),
                "PSNR in dB; DIP and DDPM were given the hybrid's time:",
                *(_aligned(row, widths) for row in rows),
                *wrapped(_conclusion(hybrid, compared), 79),
            ]
        return lines

    def _block(
        self, cell: Cell, keys: Sequence[tuple[str, str]], label: int, heads: Sequence[str], width: int
    ) -> list[str]:
        lines = [cell.name, *(f"  {text}" for text in cell.verdicts())]
        lines.append("  method".ljust(label) + "".join(head.rjust(COLUMN_WIDTHS[head]) for head in heads))
        for key in keys:
            row = cell.rows.get(key)
            if row is None and key[0] not in {*HYBRIDS, *itertools.chain(*BASELINES.values()), *cell.missing}:
                continue  # a control for other tasks
            failed = key[0] in cell.missing and cell.missing[key[0]].failed
            values = row.table_cells() if row else {"PSNR": "failed" if failed else "n/a"}
            columns = "".join(values.get(head, "").rjust(COLUMN_WIDTHS[head]) for head in heads)
            lines.append(f"  {method_label(*key)}".ljust(label) + columns)
        lines += [line for text in cell.knowledge() for line in wrapped(text, width, "    ")]
        return [line.rstrip() for line in lines]


GROUP_NAMES = {"inpainting": "inpainting cells", "others": "other cells", "all": "cells"}
"""The names of the groups of cells in sentences."""
COLUMN_WIDTHS = {"PSNR": 7, "exact": 6, "SSIM": 6, "class": 6, "NFE": 6, "iter": 6, "runs": 5, "seconds": 8}
"""The widths of the columns, in characters, in their order."""
_COLUMN_PRIORITY = ("PSNR", "exact", "seconds", "SSIM", "class", "NFE", "iter", "runs")
"""The columns by priority; in a narrow table the last ones are left out."""


def _conclusion(hybrid: str, cells: Mapping[str, tuple[Cell, Interval]]) -> str:
    """Say in which cells each family is the better baseline, and in which the hybrid is better, equal or worse."""
    better: dict[str, list[str]] = {family: [] for family in BASELINES}
    standing: dict[str, list[str]] = {"ahead of": [], "level with": [], "behind": []}
    for label, (cell, gain) in cells.items():
        best = cell.baseline(hybrid)
        assert best
        better[next(family for family, methods in BASELINES.items() if best.method in methods)].append(label)
        standing["ahead of" if (gain.lower or 0) > 0 else "behind" if (gain.upper or 0) < 0 else "level with"].append(
            label
        )
    families = ", ".join(f"{family} on {_listed(labels)}" for family, labels in better.items() if labels)
    results = ", ".join(f"{word} it on {_listed(labels)}" for word, labels in standing.items() if labels)
    return f"The better baseline is {families}. Without knowing this, {hybrid} is {results}."


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    label, *numbers, gain = (text.rjust(width) for text, width in zip(row, widths, strict=True))
    return f"  {label.strip().ljust(widths[0])}  {'  '.join(numbers)}  {gain.strip()}"


def _listed(labels: Sequence[str]) -> str:
    return " and ".join(labels) if len(labels) < 3 else f"{len(labels)} cells"


def method_label(method: str, budget_of: str) -> str:
    """Return the name of a row: the method, and the hybrid whose time it was given, if any."""
    return f"{method} @{budget_of}" if budget_of else method


def _differences(hybrid: MethodScores | None, baseline: MethodScores | None) -> list[float]:
    pairs = zip(hybrid.psnr, baseline.psnr, strict=False) if hybrid and baseline else ()
    return [0.0 if a == b else a - b for a, b in pairs]  # two exact images have an infinite PSNR
