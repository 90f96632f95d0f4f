"""The data that panes show: the run under the cursor, and the compared runs, marked or of a group."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.launch.sweep import label
from dipddpm.core.runs import Run
from dipddpm.tui.console.model.curves import SERIES_COLOURS
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.preferences import Preferences
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared import combine
from dipddpm.tui.shared.columns import run_title
from dipddpm.tui.shared.runlist import RunRow

MAX_CURVES = 32
"""Maximum number of runs whose logs are read for the curves of a group."""
_ReadConfigs: TypeAlias = dict[str, tuple[AnyRun | None, dict[str, str]]]
"""run -> its config (None if it can't be read) and its options as text."""


def toggle_mark(marked: dict[str, int], run: str) -> bool:
    """Mark a run with the first free colour, or unmark it; return False if no colour is free."""
    if run in marked:
        del marked[run]
        return True
    free = sorted(set(range(SERIES_COLOURS)) - set(marked.values()))
    if free:
        marked[run] = free[0]
    return bool(free)


@dataclass(frozen=True)
class ComparedRun:
    """A run in the comparison, and its curves."""

    row: RunRow
    series: RunSeries
    run: Run


@dataclass(frozen=True)
class ComparisonEntry:
    """A marked run, or a group's runs that differ only in their seeds; its colour stays the same while it is marked.

    `rows` are all runs of the entry. Only the runs in `drawn` have their logs read; `members` are their curves.
    """

    title: str
    rows: Sequence[RunRow]
    drawn: Sequence[RunRow] = ()
    colour_index: int = 0
    short_title: str = ""
    """A shorter title for narrow columns; empty if there is none."""
    members: Sequence[ComparedRun] = ()
    """The runs in `drawn` with their curves; the first one represents the entry."""


@dataclass(frozen=True)
class View:
    """The run under the cursor, the time cursor, the compared runs and the user's preferences."""

    run: Run
    row: RunRow
    series: RunSeries
    preferences: Preferences
    step: int | None = None
    """The time cursor's step; None follows the run."""
    marked: Sequence[ComparisonEntry] = ()
    """The compared entries: the marked runs, or the combinations of the group under the cursor."""
    configs: Sequence[AnyRun | None] = ()
    """The config of each entry's first run (None if it can't be read); empty until all have been read."""


class ViewMaker:
    """Builds the view of a run or of a group. Configs never change, so each is read once, in the background."""

    def __init__(
        self,
        session: Session,
        series_of: Callable[[str], RunSeries | None],
        background: Callable[[Callable[[], _ReadConfigs], Callable[[_ReadConfigs], None]], None],
        changed: Callable[[], object],
    ) -> None:
        self._session = session
        self._series_of = series_of
        self._background = background
        self._changed = changed
        self._configs: _ReadConfigs = {}
        self._is_reading = False
        self._last: tuple[tuple[RunRow, ...], list[ComparisonEntry]] = ((), [])

    def of_run(self, row: RunRow, step: int | None, marked: Mapping[str, int]) -> View | None:
        """Return the view of a run with the time cursor at `step`; None unless the run is watched."""
        series = self._series_of(row.id)
        if series is None:
            return None
        by_id = {row.id: row for row in self._session.rows} if marked else {}
        entries = [
            self._with_members(ComparisonEntry(run_title(by_id[run]), [by_id[run]], [by_id[run]], colour))
            for run, colour in marked.items()
            if run in by_id
        ]
        return self._view(ComparedRun(row, series, self._session.run_of(row)), step, entries)

    def of_group(self, rows: Sequence[RunRow]) -> View | None:
        """Return the view of a group of these runs; None until its combinations are known."""
        entries = [self._with_members(entry) for entry in self.combinations(rows)]
        return self._view(self._compared(entries[0].rows[0]), None, entries) if entries else None

    def combinations(self, rows: Sequence[RunRow]) -> list[ComparisonEntry]:
        """Return the combinations of these runs' options, in the order of their values, without members.

        Only the best ones are drawn. Empty until the configs have been read. The last result is cached, since it is
        needed a few times a second.
        """
        if not self._have_configs(rows):
            return []
        if tuple(rows) != self._last[0]:
            self._last = tuple(rows), self._combine(rows)
        return self._last[1]

    def _view(self, shown: ComparedRun, step: int | None, entries: Sequence[ComparisonEntry]) -> View:
        rows = [entry.rows[0] for entry in entries]
        configs = [self._configs[row.id][0] for row in rows] if self._have_configs(rows) else []
        return View(shown.run, shown.row, shown.series, self._session.preferences, step, entries, configs)

    def _with_members(self, entry: ComparisonEntry) -> ComparisonEntry:
        return replace(entry, members=[self._compared(row) for row in entry.drawn])

    def _compared(self, row: RunRow) -> ComparedRun:
        return ComparedRun(row, self._series_of(row.id) or RunSeries(), self._session.run_of(row))

    def _have_configs(self, rows: Sequence[RunRow]) -> bool:
        """Return whether the configs of these runs have been read; start to read the missing ones."""
        missing = [self._session.run_of(row) for row in rows if row.id not in self._configs]
        if missing and not self._is_reading:
            self._is_reading = True
            self._background(lambda: _read_configs(missing), self._add_configs)
        return not missing

    def _add_configs(self, configs: _ReadConfigs) -> None:
        self._is_reading = False
        self._configs |= configs
        self._changed()

    def _combine(self, rows: Sequence[RunRow]) -> list[ComparisonEntry]:
        tables = [self._configs[row.id][1] for row in rows]
        keys = combine.differing_options(tables)
        entries = [
            ComparisonEntry(
                label(dict(zip(keys, values, strict=True))) or "same options",
                [rows[n] for n in indices],
                short_title=" ".join(values),
            )
            for values, indices in combine.combine(tables, keys).items()
        ]
        best = sorted(range(len(entries)), key=lambda index: _sort_key(entries[index].rows))[:SERIES_COLOURS]
        each = MAX_CURVES // max(1, len(best))
        for colour, index in enumerate(sorted(best)):
            entries[index] = replace(entries[index], drawn=entries[index].rows[:each], colour_index=colour)
        return entries


def _read_configs(runs: Sequence[Run]) -> _ReadConfigs:
    configs: _ReadConfigs = {}
    for run in runs:
        try:
            config = run.config()
        except UserError:
            config = None
        configs[run.id] = config, combine.option_texts(run.id, config)
    return configs


def _sort_key(rows: Sequence[RunRow]) -> float:
    """Return a key that sorts by mean PSNR (best first), else by mean loss; runs without either come last."""
    psnr = combine.compute_spread(row.result for row in rows)
    loss = combine.compute_spread(row.loss if row.best_loss is None else row.best_loss for row in rows)
    merit = -psnr.mean if psnr else loss.mean if loss else math.inf
    return math.inf if math.isnan(merit) else merit
