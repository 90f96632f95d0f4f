"""Makes the view that a pane shows: of a run, or of the combinations of a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dipddpm.tui.console.model.combinations import GroupCombination
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.panes.view import ComparedRun, ComparisonEntry, View
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared.columns import run_title
from dipddpm.tui.shared.runlist import RunRow


class ViewMaker:
    """Knows the session and the series that have been read."""

    def __init__(self, session: Session, series_of: Callable[[str], RunSeries | None]) -> None:
        self._session = session
        self._series_of = series_of

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

    def of_group(self, combinations: Sequence[GroupCombination]) -> View | None:
        """The view of a group; None until its combinations are known."""
        if not combinations:
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
