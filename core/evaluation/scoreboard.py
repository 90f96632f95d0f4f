"""Restorations compared: methods on the same degraded images, and a hybrid against both its parents. Loads no torch.

A cell is a task on a set of images. An image that was degraded several times, with other seeds, counts once, with the
mean of its scores. All is made of the events in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from dipddpm.core.config import HYBRIDS
from dipddpm.core.evaluation.intervals import Interval, interval, mean, pooled
from dipddpm.core.events import Event, RestorationMissing, RestorationsCompared, RestorationScored
from dipddpm.core.io.sanitize import wrapped

DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN = "dip-mean", "ddpm-mean", "posterior-mean"
BASELINES = {"DIP": (DIP_MEAN,), "DDPM": (DDPM_MEAN, POSTERIOR_MEAN)}
"""The forms of each parent that a hybrid is compared with: the best of them on the mean of a cell stands for it."""
Cost: TypeAlias = Literal["nfe", "iterations", "runs", "seconds"]
COSTS: tuple[Cost, ...] = get_args(Cost)
CONTROLS = {"conditioned": "conditioned-pinv"}
"""The same hybrid without what it has from DIP, by its name."""


@dataclass
class MethodScores:
    """A method in one cell. `budget_of` names the hybrid whose seconds it was given, if any."""

    method: str
    budget_of: str = ""
    scored: list[RestorationScored] = field(default_factory=list)

    @property
    def psnr(self) -> list[float]:
        """Of each image, in dB, on the mean of its seeds."""
        return [mean(values) for values in zip(*(scored.psnr for scored in self.scored), strict=False)]

    @property
    def mean(self) -> float:
        """PSNR in dB on the mean of all images."""
        return mean(self.psnr)

    @property
    def ssim(self) -> float | None:
        """On the mean; None where the images are too small for it."""
        values = [value for scored in self.scored for value in scored.ssim]
        return mean(values) if values else None

    @property
    def accuracy(self) -> float | None:
        """The share of images that the classifier told for what they are; None where they have no classes."""
        values = [float(value) for scored in self.scored for value in scored.recognised]
        return mean(values) if values else None

    def average(self, cost: Cost) -> float:
        """What it cost, on the mean of its seeds.

        `seconds` are those of all images together; `nfe` (evaluations of the diffusion network) and `iterations` (of
        untrained networks) those of each image; `runs` the restarts or samples that its result is the mean of.
        """
        return mean([getattr(scored, cost) for scored in self.scored])

    def table_cells(self) -> dict[str, str]:
        """What a table says of it, by the head of its column; what nobody measured is left out."""
        nfe, iterations, runs, seconds = map(self.average, COSTS)
        numbers = {
            "PSNR": f"{self.mean:.2f}",
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
    """All methods on one task and one set. One that failed with one seed has no row, but stands under `missing`."""

    task: str
    set: str
    rows: dict[tuple[str, str], MethodScores] = field(default_factory=dict)
    missing: dict[str, RestorationMissing] = field(default_factory=dict)

    def add(self, event: RestorationScored | RestorationMissing) -> None:
        """Take in one result, or that there is none."""
        if isinstance(event, RestorationMissing):
            self.missing[event.method] = event
            for key in [key for key in self.rows if event.method in key]:
                del self.rows[key]
        elif not {event.method, event.budget_of} & self.missing.keys():
            key = (event.method, event.budget_of)
            row = self.rows.setdefault(key, MethodScores(*key))
            row.scored = [*(before for before in row.scored if before.seed != event.seed), event]

    @property
    def name(self) -> str:
        """As a heading has it."""
        return f"{self.task} on {self.set}" if self.set else self.task

    def baseline(self, hybrid: str, family: str = "") -> MethodScores | None:
        """The best form, in this cell, of a parent (`DIP` or `DDPM`, else of both) with no more time than the hybrid.

        None where one of its forms failed: the others alone would flatter the hybrid.
        """
        forms = [form for name in ([family] if family else BASELINES) for form in BASELINES[name]]
        if any(form in self.missing and self.missing[form].failed for form in forms):
            return None
        candidates = [self.rows[key] for form in forms for key in ((form, hybrid), (form, "")) if key in self.rows]
        return max(candidates, key=lambda row: row.mean, default=None)

    def differences(self, hybrid: str, against: str = "") -> list[float]:
        """PSNR of the hybrid minus that of the better parent, or of the one named `against`, image by image."""
        return _differences(self.rows.get((hybrid, "")), self.baseline(hybrid, against))

    def gain(self, hybrid: str, against: str = "") -> Interval | None:
        """The mean of `differences`, with its bounds; None where there is nothing to compare."""
        differences = self.differences(hybrid, against)
        return interval(differences) if differences else None

    def verdicts(self) -> list[str]:
        """Each hybrid minus the better parent in as long, and minus the control of its own, with bounds."""
        return [
            f"{hybrid} - {other.method}: {interval(differences)} dB"
            for hybrid in (method for method, _ in self.rows if method in HYBRIDS)
            for other in (self.baseline(hybrid), self.rows.get((CONTROLS.get(hybrid, ""), "")))
            if other and (differences := _differences(self.rows.get((hybrid, "")), other))
        ]


class Scoreboard:
    """What events say of restorations, in the order in which they came; other events say nothing of them."""

    def __init__(self, history: Iterable[Event]) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        for event in history:
            if isinstance(event, RestorationScored | RestorationMissing):
                self.cells.setdefault((event.task, event.set), Cell(event.task, event.set)).add(event)

    @property
    def hybrids(self) -> list[str]:
        """The hybrids on the board."""
        methods = dict.fromkeys(method for cell in self.cells.values() for method, _ in cell.rows)
        return [method for method in methods if method in HYBRIDS]

    def groups(self) -> dict[str, list[Cell]]:
        """The cells over which means are taken: inpainting, the others, and all; only those with several."""
        everything = list(self.cells.values())
        inpainting = [cell for cell in everything if cell.task.startswith("inpaint")]
        groups = {"inpainting": inpainting, "others": [cell for cell in everything if cell not in inpainting]}
        groups = {name: cells for name, cells in groups.items() if 1 < len(cells) < len(everything)}
        return groups | ({"all": everything} if len(everything) > 1 else {})

    def gain(self, hybrid: str, cells: Sequence[Cell], against: str = "") -> Interval | None:
        """The mean over cells; an image that several tasks have degraded is one observation, on the mean of them."""
        by_set: dict[str, list[list[float]]] = {}
        for cell in cells:
            if differences := cell.differences(hybrid, against):
                by_set.setdefault(cell.set, []).append(differences)
        strata = [[mean(values) for values in zip(*tasks, strict=False)] for tasks in by_set.values()]
        return pooled(strata) if strata else None

    def headline(self, step: int = 0) -> RestorationsCompared | None:
        """What the first hybrid's scores come to, on the mean of the cells that it is in; None without one."""
        if not self.hybrids:
            return None
        hybrid = self.hybrids[0]
        cells = [cell for cell in self.cells.values() if (hybrid, "") in cell.rows]
        psnr = mean([cell.rows[hybrid, ""].mean for cell in cells])
        gain, lower, upper = self.gain(hybrid, cells) or (None, None, None)
        return RestorationsCompared(
            method=hybrid, psnr=psnr, cells=len(cells), gain=gain, lower=lower, upper=upper, step=step
        )

    def absences(self) -> list[str]:
        """Which method has no result, why, and where, if not everywhere."""
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
        """What comes of several cells: each hybrid against the better parent of each, and against either parent."""
        return [
            f"{hybrid} - {against or 'better parent'}: {gain} dB, mean of {compared} {GROUP_NAMES[name]}"
            for hybrid in self.hybrids
            for name, cells in self.groups().items()
            for against in ("", *BASELINES)
            if (gain := self.gain(hybrid, cells, against))
            and (compared := sum(bool(cell.differences(hybrid, against)) for cell in cells)) > 1
        ]

    def verdicts(self) -> list[str]:
        """What comes of it all: the means over cells, or where there is a single one, its gains."""
        return self.means() or [f"{cell.name}: {text}" for cell in self.cells.values() for text in cell.verdicts()]

    def lines(self, width: int = 79, *, newest_first: bool = False) -> list[str]:
        """The board as text: a table for each cell below its gains, the means over cells, and what has no result.

        Columns that `width` has no room for are left out; the newest cell can stand first, for whoever watches.
        """
        cells = self.cells.values()
        keys = list(dict.fromkeys(key for cell in cells for key in (*cell.rows, *((m, "") for m in cell.missing))))
        label = max((len(method_label(*key)) for key in keys), default=0) + 2
        heads = [
            head
            for head in COLUMN_WIDTHS
            if label + sum(COLUMN_WIDTHS[h] for h in _COLUMN_PRIORITY[: _COLUMN_PRIORITY.index(head) + 1]) <= width
        ]
        blocks = [self._block(cell, keys, label, heads) for cell in self.cells.values()]
        means = [self.means()] if self.groups() else []
        blocks = [*means, *reversed(blocks)] if newest_first else [*blocks, *means]
        if absences := self.absences():
            blocks.append([line for text in absences for line in wrapped(text, width, "  ")])
        return [line for block in blocks for line in ("", *block)][1:]

    def _block(self, cell: Cell, keys: Sequence[tuple[str, str]], label: int, heads: Sequence[str]) -> list[str]:
        lines = [cell.name, *(f"  {text}" for text in cell.verdicts())]
        lines.append("  method".ljust(label) + "".join(head.rjust(COLUMN_WIDTHS[head]) for head in heads))
        for key in keys:
            row = cell.rows.get(key)
            failed = key[0] in cell.missing and cell.missing[key[0]].failed
            values = row.table_cells() if row else {"PSNR": "failed" if failed else "n/a"}
            columns = "".join(values.get(head, "").rjust(COLUMN_WIDTHS[head]) for head in heads)
            lines.append(f"  {method_label(*key)}".ljust(label) + columns)
        return [line.rstrip() for line in lines]


GROUP_NAMES = {"inpainting": "inpainting cells", "others": "other cells", "all": "cells"}
"""What the groups of cells are called in a sentence."""
COLUMN_WIDTHS = {"PSNR": 7, "SSIM": 6, "class": 6, "NFE": 6, "iter": 6, "runs": 5, "seconds": 8}
"""The columns and how wide they are."""
_COLUMN_PRIORITY = ("PSNR", "seconds", "SSIM", "class", "NFE", "iter", "runs")
"""The columns in the order in which room is given to them."""


def method_label(method: str, budget_of: str) -> str:
    """What a row is called: a method that was given a hybrid's seconds is named after both."""
    return f"{method} @{budget_of}" if budget_of else method


def _differences(ours: MethodScores | None, theirs: MethodScores | None) -> list[float]:
    return [a - b for a, b in zip(ours.psnr, theirs.psnr, strict=False)] if ours and theirs else []
