"""The combinations of a group: which of its runs differ in their seeds only, and whose curves are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from core.runs import Glance, Run
from core.sweep import label
from tui.model import combine
from tui.model.combine import spread
from tui.model.runlist import RunRow

MOST_DRAWN = 8
"""Combinations whose curves are drawn: as many as there are colours."""
MOST_CURVES = 32
"""Runs whose logs are read for that."""


class Combined(NamedTuple):
    """A combination: what sets it apart, its runs, and those of them whose curves are drawn, in this colour."""

    title: str
    brief: str
    """The values alone, for a place where the keys don't fit."""
    rows: Sequence[RunRow]
    drawn: Sequence[RunRow] = ()
    colour: int = 0


class Combinations:
    """Knows the options of runs, which are read once, for what was asked of a run never changes."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, str]] = {}
        self._last: tuple[tuple[RunRow, ...], list[Combined]] = ((), [])

    def lacks(self, rows: Sequence[RunRow]) -> list[str]:
        """The ids of the runs whose options have not been read."""
        return [row.id for row in rows if row.id not in self._tables]

    def read(self, runs: Sequence[Run]) -> None:
        """Read the options of these runs, which may take a while on a slow disk."""
        for run in runs:
            glance: Glance = run.look()
            self._tables[run.id] = combine.table(run.id, glance.config)

    def of(self, rows: Sequence[RunRow]) -> list[Combined]:
        """The combinations of these runs, in the order of their values; of many, the best are drawn.

        Asked for a few times a second: the same rows have the same answer, which is kept.
        """
        if tuple(rows) != self._last[0]:
            self._last = tuple(rows), self._combine(rows)
        return self._last[1]

    def _combine(self, rows: Sequence[RunRow]) -> list[Combined]:
        tables = [self._tables[row.id] for row in rows]
        keys = combine.set_apart(tables)
        found = [
            Combined(
                label(dict(zip(keys, one.values, strict=True))) or "all alike",
                " ".join(one.values),
                [rows[n] for n in one.members],
            )
            for one in combine.combine(tables, keys)
        ]
        best = sorted(found, key=_merit)[:MOST_DRAWN]
        each = MOST_CURVES // max(1, len(best))
        drawn = [one for one in found if one in best]
        return [one._replace(drawn=one.rows[:each], colour=drawn.index(one)) if one in drawn else one for one in found]


def _merit(one: Combined) -> float:
    """Smaller is better: the PSNR that it came to, else the loss; one that came to nothing yet is last."""
    psnr = spread(row.psnr for row in one.rows)
    loss = spread(row.loss if row.best_loss is None else row.best_loss for row in one.rows)
    merit = -psnr.mean if psnr else loss.mean if loss else math.inf
    return merit if math.isfinite(merit) else math.inf
