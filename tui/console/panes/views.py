"""Makes the view that a pane shows: of a run, or of the combinations of a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from dipddpm.tui.console.model.combinations import CombinationCache, GroupCombination
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.panes.view import ComparedRun, ComparisonEntry, View
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.columns import run_title
from dipddpm.tui.shared.runlist import RunRow


class ViewMaker:
    """Knows the session and the series that have been read."""

    def __init__(
        self,
        session: Session,
        series_of: Callable[[str], RunSeries | None],
        background: Callable[[Callable[[], None], Callable[[None], object]], None],
        changed: Callable[[], object],
    ) -> None:
        self._session = session
        self._series_of = series_of
        self._background = background
        self._changed = changed
        self._combinations = CombinationCache()
        self._reading_options = False

    def of_run(self, row: RunRow, step: int | None, marked: Mapping[str, int]) -> View | None:
        """The view of a run where the time cursor stands at `step`; None until its log is being read."""
        series = self._series_of(row.id)
        if series is None:
            return None
        by_id = {row.id: row for row in self._session.rows} if marked else {}
        entries = [
            ComparisonEntry(run_title(by_id[run]), [self._compared(by_id[run])], [by_id[run]], colour)
            for run, colour in marked.items()
            if run in by_id
        ]
        return View(self._session.run_of(row), row, series, self._session.preferences, step, entries)

    def combinations(self, rows: Sequence[RunRow]) -> list[GroupCombination]:
        """The combinations of these runs; none until their options have been read in the background."""
        unread = set(self._combinations.missing_options(rows))
        if not unread:
            return self._combinations.combinations(rows)
        if not self._reading_options:
            self._reading_options = True
            runs = [self._session.run_of(row) for row in rows if row.id in unread]
            self._background(partial(self._combinations.read, runs), self._options_read)
        return []

    def _options_read(self, _: None) -> None:
        self._reading_options = False
        self._changed()

    def of_group(self, rows: Sequence[RunRow]) -> View | None:
        """The view of a group of these runs; None until its combinations are known."""
        if not (combinations := self.combinations(rows)):
            return None
        entries = [
            ComparisonEntry(
                combination.title,
                [self._compared(row) for row in combination.drawn],
                combination.rows,
                combination.colour,
                combination.short_title,
            )
            for combination in combinations
        ]
        first = self._compared(combinations[0].rows[0])
        return View(first.run, first.row, first.series, self._session.preferences, None, entries)

    def _compared(self, row: RunRow) -> ComparedRun:
        return ComparedRun(row, self._series_of(row.id) or RunSeries(), self._session.run_of(row))
