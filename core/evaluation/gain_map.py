"""A map of gains: how much better a hybrid is than the better baseline, by prior, measurement and domain.

Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import msgspec

from dipddpm.core.config.hybrid import WITH
from dipddpm.core.evaluation.cell import Cell, paired_differences
from dipddpm.core.evaluation.intervals import Interval, interval
from dipddpm.core.evaluation.rows import DDPM_MEAN, DIP_MEAN, MethodScores
from dipddpm.core.evaluation.scoreboard import Scoreboard, VerdictBoard
from dipddpm.core.events import Event, RestorationMissing, RestorationsCompared, RestorationScored, TrialErrors
from dipddpm.core.io.sanitize import wrapped

HYBRID = "calibrated"
"""The hybrid of the map: a weighted mean of DIP, diffusion and classics."""
DIP_AND_DIFFUSION, WITHOUT_DIP, WITHOUT_DIFFUSION = "dip-and-diffusion", "without-dip", "without-diffusion"
"""The same, of some of the candidates alone."""


class MapCell(NamedTuple):
    """A prior, a degradation and a set of images, with the gains of the hybrid."""

    prior: str
    task: str
    set: str
    gain: Interval
    """The PSNR of DIP and diffusion, weighted, minus that of the better one in the same time with equal tricks, dB."""
    by_dip: Interval
    """The PSNR of DIP, diffusion and classics, weighted, minus that of diffusion and classics alone, in dB."""
    by_diffusion: Interval
    """The PSNR of DIP, diffusion and classics, weighted, minus that of DIP and classics alone, in dB."""
    best: str
    """The name of the better baseline."""
    trial: TrialErrors | None
    """The errors at held-out measurements, which are known without the truth."""

    @property
    def name(self) -> str:
        """The cell in words."""
        return f"{self.task} on {self.set}, prior {self.prior}"


class MapBoard(VerdictBoard):
    """The results of a map, with a scoreboard for each prior."""

    def __init__(self, history: Iterable[Event]) -> None:
        events = [event for event in history if isinstance(event, RestorationScored | RestorationMissing)]
        super().__init__(events)
        self.priors = list(dict.fromkeys(prior for event in events if (prior := split(event.method)[1])))
        """The names of the priors, in the order of their first results."""
        self.boards = {prior: Scoreboard(_of_prior(events, prior)) for prior in self.priors}
        """The scoreboard of each prior, whose rows have their usual names."""

    @cached_property
    def map_cells(self) -> list[MapCell]:
        """The cells of the map that are complete, by degradation, set and prior."""
        found = []
        for task, name in self.cells:
            for prior, board in self.boards.items():
                cell = board.cells.get((task, name))
                if cell and (made := _map_cell(prior, cell)):
                    found.append(made)
        return found

    def headline(self, step: int = 0) -> RestorationsCompared | None:
        """Return the headline of the last prior's scoreboard, which is the largest."""
        return self.boards[self.priors[-1]].headline(step) if self.priors else None

    def groups(self) -> dict[str, list[MapCell]]:
        """Return the cells in groups by name: all of them, those of each set, and those of each prior."""
        cells = self.map_cells
        groups = {"all cells": cells}
        for name in dict.fromkeys(cell.set for cell in cells):
            groups[f"on {name}"] = [cell for cell in cells if cell.set == name]
        for prior in self.priors:
            groups[f"prior {prior}"] = [cell for cell in cells if cell.prior == prior]
        return {name: members for name, members in groups.items() if members}

    def verdicts(self) -> list[str]:
        """Say in how many cells DIP and diffusion together are better than the better one, and in how many worse."""
        return [f"{name}: {counts(cells)}" for name, cells in self.groups().items()]

    def blocks(self, width: int) -> list[list[str]]:
        """Return a line for each cell of the map, in a block for each degradation and set."""
        return [self._block(task, name, width) for task, name in self.cells]

    def _block(self, task: str, name: str, width: int) -> list[str]:
        cells = [cell for cell in self.map_cells if (cell.task, cell.set) == (task, name)]
        if not cells:
            return []
        size = self.boards[cells[0].prior].cells[task, name].size
        lines = wrapped(f"{task} on {name} ({size})", width, "  ")
        rows: list[tuple[str, ...]] = [("prior", "gain over the better of the two", "by DIP", "diffusion")]
        for cell in cells:
            gains = (f"{gain.mean:+.2f}" for gain in (cell.by_dip, cell.by_diffusion))
            rows.append((cell.prior, f"{cell.gain.text()} {cell.best}", *gains))
        for prior, gain, *parts in rows:
            line = f"  {prior:23}{gain:35}".rstrip()
            for end, part in zip((68, 79), parts, strict=True):
                line = f"{line}{part:>{end - len(line)}}" if end <= width else line
            lines.append(line[:width])
        return lines


def sign(gain: Interval) -> int:
    """Return 1 for a gain whose bounds are above 0, -1 for one whose bounds are below, and 0 for one in between."""
    if gain.lower is not None and gain.lower > 0:
        return 1
    return -1 if gain.upper is not None and gain.upper < 0 else 0


def counts(cells: Iterable[MapCell]) -> str:
    """Return in words in how many cells DIP and diffusion together lose, gain, and neither; losses come first."""
    signs = [sign(cell.gain) for cell in cells]
    more, less, neither = signs.count(1), signs.count(-1), signs.count(0)
    return f"DIP + DDPM worse in {less} of {len(signs)} cells, better in {more}, undecided in {neither}"


def with_prior(method: str, prior: str) -> str:
    """Return the name of a row: the method and its prior."""
    return f"{method}{WITH}{prior}"


def split(name: str) -> tuple[str, str]:
    """Return the method and the prior of a row; the prior is empty for a method without one."""
    method, _, prior = name.partition(WITH)
    return method, prior


def _of_prior(
    events: Iterable[RestorationScored | RestorationMissing], prior: str
) -> Iterable[RestorationScored | RestorationMissing]:
    """Yield the events of one prior, and those of methods without one in the time of its hybrid."""
    for event in events:
        method, own = split(event.method)
        if own not in {"", prior}:
            continue
        if isinstance(event, RestorationMissing):
            yield msgspec.structs.replace(event, method=method)
            continue
        hybrid, other = split(event.budget_of)
        if other in {"", prior}:
            yield msgspec.structs.replace(event, method=method, budget_of=hybrid)


def _map_cell(prior: str, cell: Cell) -> MapCell | None:
    """Return a cell of the map; None as long as it lacks a row."""
    best, rows = cell.best(HYBRID, "equal"), {method: row for (method, of), row in cell.rows.items() if not of}
    if best is None or not {HYBRID, DIP_AND_DIFFUSION, WITHOUT_DIP, WITHOUT_DIFFUSION} <= rows.keys():
        return None
    if not {(DIP_MEAN, HYBRID), (DDPM_MEAN, HYBRID)} <= cell.rows.keys():
        return None  # a baseline is still to come

    def gain(method: str, other: MethodScores) -> Interval:
        return interval([*paired_differences(rows[method], other).values()])

    return MapCell(
        prior,
        cell.task,
        cell.set,
        gain(DIP_AND_DIFFUSION, best),
        gain(HYBRID, rows[WITHOUT_DIP]),
        gain(HYBRID, rows[WITHOUT_DIFFUSION]),
        best.method,
        rows[HYBRID].scored[0].trial,
    )
