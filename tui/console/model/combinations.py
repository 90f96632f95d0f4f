"""The combinations of a group: which of its runs differ in their seeds only, and whose curves are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dipddpm.core.launch.sweep import label
from dipddpm.core.runs import Run, RunStatus
from dipddpm.tui.shared import combine
from dipddpm.tui.shared.combine import compute_spread
from dipddpm.tui.shared.runlist import RunRow

MAX_DRAWN = 8
"""Combinations whose curves are drawn: as many as there are colours."""
MAX_CURVES = 32
"""Runs whose logs are read for that."""


class GroupCombination(NamedTuple):
    """A combination: what sets it apart, its runs, and those of them whose curves are drawn, in this colour."""

    title: str
    short_title: str
    """The values alone, for a place where the keys don't fit."""
    rows: Sequence[RunRow]
    drawn: Sequence[RunRow] = ()
    colour: int = 0


class CombinationCache:
    """Knows the options of runs, which are read once, for what was asked of a run never changes."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, str]] = {}
        self._last: tuple[tuple[RunRow, ...], list[GroupCombination]] = ((), [])

    def missing_options(self, rows: Sequence[RunRow]) -> list[str]:
        """The ids of the runs whose options have not been read."""
        return [row.id for row in rows if row.id not in self._tables]

    def read(self, runs: Sequence[Run]) -> None:
        """Read the options of these runs, which may take a while on a slow disk."""
        for run in runs:
            status: RunStatus = run.status()
            self._tables[run.id] = combine.option_texts(run.id, status.config)

    def combinations(self, rows: Sequence[RunRow]) -> list[GroupCombination]:
        """The combinations of these runs, in the order of their values; of many, the best are drawn.

        Asked for a few times a second: the same rows have the same answer, which is kept.
        """
        if tuple(rows) != self._last[0]:
            self._last = tuple(rows), self._combine(rows)
        return self._last[1]

    def _combine(self, rows: Sequence[RunRow]) -> list[GroupCombination]:
        tables = [self._tables[row.id] for row in rows]
        keys = combine.differing_options(tables)
        combinations = [
            GroupCombination(
                label(dict(zip(keys, combination.values, strict=True))) or "all alike",
                " ".join(combination.values),
                [rows[n] for n in combination.member_indices],
            )
            for combination in combine.combine(tables, keys)
        ]
        best = sorted(combinations, key=_sort_key)[:MAX_DRAWN]
        each = MAX_CURVES // max(1, len(best))
        drawn = [combination for combination in combinations if combination in best]
        return [
            combination._replace(drawn=combination.rows[:each], colour=drawn.index(combination))
            if combination in drawn
            else combination
            for combination in combinations
        ]


def _sort_key(combination: GroupCombination) -> float:
    """Smaller is better: the PSNR that it came to, else the loss; one that came to nothing yet is last."""
    psnr = compute_spread(row.psnr for row in combination.rows)
    loss = compute_spread(row.loss if row.best_loss is None else row.best_loss for row in combination.rows)
    merit = -psnr.mean if psnr else loss.mean if loss else math.inf
    return merit if math.isfinite(merit) else math.inf
