"""A scoreboard of restorations of the same images, with each hybrid's gains over three yardsticks. Loads no torch.

A cell is a task on a set of images. An image that was degraded with several seeds counts once, with its mean score.
The scoreboard is built from the events in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dipddpm.core.config.hybrid import is_hybrid
from dipddpm.core.evaluation import tables
from dipddpm.core.evaluation.cell import YARDSTICKS, Cell, Yardstick, seeds, span
from dipddpm.core.evaluation.intervals import Interval, pooled
from dipddpm.core.events import Event, RestorationMissing, RestorationsCompared, RestorationScored
from dipddpm.core.io.sanitize import wrapped
from dipddpm.core.means import mean_without_infinite, psnr_mean

BELOW = -0.1
"""Gain in dB below which a cell counts as one that the hybrid loses."""
NO_IMPULSES = "without impulses"


class Gain(NamedTuple):
    """A hybrid's mean gain over a yardstick, and the cells that it is the mean of."""

    yardstick: Yardstick
    interval: Interval
    cells: list[Cell]
    images: list[int]
    """The number of images of each set that count."""

    @property
    def size(self) -> str:
        """The number of cells, images and seeds, in words."""
        return f"{_cells(len(self.cells))}, {span(self.images, 'image')}, {seeds(self.cells)}"


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
        return [method for method in methods if is_hybrid(method)]

    def gain(self, hybrid: str, yardstick: Yardstick, *, impulses: bool = True) -> Gain | None:
        """Return a hybrid's mean gain over all cells that have one, or over those without impulses.

        An image degraded by several tasks counts once, with its mean difference; an image counts only if all of its
        set's cells have it.
        """
        found = [
            (cell, differences)
            for cell in self.cells.values()
            if (impulses or not cell.has_impulses) and (differences := cell.differences(hybrid, yardstick))
        ]
        strata = differences_by_set(found)
        counted = [len(stratum) for stratum in strata]
        cells = [cell for cell, _ in found]
        return Gain(yardstick, pooled(strata), cells, counted) if all(counted) and strata else None

    def gains(self, hybrid: str, *, impulses: bool = True) -> list[Gain]:
        """Return a hybrid's mean gains over all yardsticks that have one, the smallest first."""
        gains = [gain for yardstick in YARDSTICKS if (gain := self.gain(hybrid, yardstick, impulses=impulses))]
        return sorted(gains, key=lambda gain: gain.interval.mean)

    def headline(self, step: int = 0) -> RestorationsCompared | None:
        """Return the first hybrid's PSNR and its smallest gain, averaged over its cells; None without a hybrid."""
        if not self.hybrids:
            return None
        hybrid = self.hybrids[0]
        cells = [cell for cell in self.cells.values() if (hybrid, "") in cell.rows]
        rows = [cell.rows[hybrid, ""] for cell in cells]
        gains = self.gains(hybrid)
        gain = gains[0].interval if gains else None
        return RestorationsCompared(
            method=hybrid,
            psnr=psnr_mean([row.mean.value for row in rows]).value,
            exact=sum(row.mean.exact for row in rows),
            cells=len(cells),
            gain=gain and gain.mean,
            lower=gain and gain.lower,
            upper=gain and gain.upper,
            left_out=gain.left_out if gain else 0,
            against=YARDSTICKS[gains[0].yardstick] if gains else "",
            images=min(len(row.psnr) for row in rows),
            seeds=min((len(values) for row in rows for values in row.by_image.values()), default=0),
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
        """Describe each hybrid's mean gains over several cells, the smallest first, and its worst cell."""
        return [text for hybrid in self.hybrids for text in (*self._gain_texts(hybrid), *self._worst_cell_text(hybrid))]

    def verdicts(self) -> list[str]:
        """Return the means over cells or, if there is only one cell, its gains."""
        return self.means() or [
            f"{cell.name}, {cell.size}: {text}" for cell in self.cells.values() for text in cell.verdicts()
        ]

    def lines(self, width: int = 79, *, newest_first: bool = False) -> list[str]:
        """Return the board as text: each cell's gains and table, the means over cells, and the methods without result.

        Columns that don't fit into `width` are left out; `newest_first` reverses the cells, for live display.
        """
        blocks = tables.blocks([*self.cells.values()], width)
        means = [[line for text in self.means() for line in wrapped(text, width, "  ")]]
        means = means if means[0] else []
        blocks = [*means, *reversed(blocks)] if newest_first else [*blocks, *means]
        if absences := self.absences():
            blocks.append([line for text in absences for line in wrapped(text, width, "  ")])
        return [line for block in blocks for line in ("", *block)][1:]

    def summary(self) -> list[str]:
        """Return for each hybrid a table of its PSNR and its yardsticks', cell by cell, and its mean gains.

        Cells without a gain are left out; the list is empty if no cell is left.
        """
        lines: list[str] = []
        for hybrid in self.hybrids:
            if table := tables.summary([*self.cells.values()], hybrid):
                texts = [*self._gain_texts(hybrid), *self._worst_cell_text(hybrid)]
                lines += [
                    *([""] if lines else []),
                    *table,
                    *(line for text in texts for line in wrapped(text, 79, "  ")),
                ]
        return lines

    def _gain_texts(self, hybrid: str) -> list[str]:
        texts = []
        for gain in self.gains(hybrid):
            if len(gain.cells) < 2 or (gain.yardstick == "equal" and all(cell.lacks_equal for cell in gain.cells)):
                continue
            text = f"{hybrid} - {YARDSTICKS[gain.yardstick]}: {gain.interval.text(' dB')} ({gain.size})"
            others = self.gain(hybrid, gain.yardstick, impulses=False)
            if others and len(others.cells) < len(gain.cells):
                text += f"; {NO_IMPULSES} {others.interval.text(' dB')} ({_cells(len(others.cells))})"
            lacking = sum(cell.lacks_equal for cell in gain.cells)
            if gain.yardstick == "equal" and lacking:
                text += f". In {_cells(lacking)} with impulses or a blur the baselines had no equal tricks"
            texts.append(text)
        return texts

    def _worst_cell_text(self, hybrid: str) -> list[str]:
        """Name the cell with the smallest gain over the best of all rows, and count the cells that the hybrid loses."""
        gains = [(gain, cell) for cell in self.cells.values() if (gain := cell.gain(hybrid, "all"))]
        if len(gains) < 2:
            return []
        gain, cell = min(gains, key=lambda pair: pair[0].mean)
        best = cell.best(hybrid, "all")
        assert best
        below = sum(gain.mean < BELOW for gain, _ in gains)
        worst = f"{hybrid}, worst cell: {cell.name}, {gain.text(' dB')} against {best.method}"
        return [f"{worst}; {below} of {_cells(len(gains))} below {BELOW} dB"]


class VerdictBoard(Scoreboard):
    """A board whose verdicts are about all cells, with a block of lines for each of them."""

    def blocks(self, width: int) -> list[list[str]]:
        """Return a block of lines for each cell; an empty one is not shown."""
        raise NotImplementedError

    def means(self) -> list[str]:
        """Return the verdicts, which are about all cells."""
        return self.verdicts()

    def lines(self, width: int = 79, *, newest_first: bool = False) -> list[str]:
        """Return the blocks of all cells, the verdicts, and the methods without result."""
        blocks = self.blocks(width)
        words = [line for text in self.verdicts() for line in wrapped(text, width, "  ")]
        ordered = [words, *reversed(blocks)] if newest_first else [*blocks, words]
        if absences := self.absences():
            ordered.append([line for text in absences for line in wrapped(text, width, "  ")])
        return [line for block in ordered if block for line in ("", *block)][1:]

    def summary(self) -> list[str]:
        """Return the verdicts in lines."""
        return [line for text in self.verdicts() for line in wrapped(text, 79, "  ")]


def differences_by_set(cells: Iterable[tuple[Cell, dict[int, float]]]) -> list[list[float]]:
    """Return the differences of each set's images, which an image's tasks are averaged to, from those of each cell."""
    by_set: dict[str, list[dict[int, float]]] = {}
    for cell, differences in cells:
        by_set.setdefault(cell.set, []).append(differences)
    return [_means(tasks) for tasks in by_set.values()]


def _means(tasks: Sequence[dict[int, float]]) -> list[float]:
    """Return the mean difference of each image that all tasks have."""
    shared = [index for index in tasks[0] if all(index in task for task in tasks)]
    return [mean_without_infinite([task[index] for task in tasks]) for index in shared]


def _cells(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"
