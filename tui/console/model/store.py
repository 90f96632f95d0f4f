"""The series of the runs that were looked at, each of them whole as far as it has been read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from dipddpm.core.events import Event
from dipddpm.tui.console.model.series import RunSeries

KEPT_SERIES = 16
"""So many runs that were looked at stay in memory."""


class SeriesStore:
    """Holds the series, and calls `rewind` for a log that has to be read from its first byte."""

    def __init__(self, rewind: Callable[[str], None], kept: int = KEPT_SERIES) -> None:
        self._rewind = rewind
        self._kept = kept
        self._series: OrderedDict[str, RunSeries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._series)

    def get(self, run: str) -> RunSeries | None:
        """The series of this run; None for a run that was not watched lately."""
        return self._series.get(run)

    def watch(self, runs: Sequence[str]) -> None:
        """Hold these runs, and as many as there is room for of those that were watched last."""
        for run in runs:
            if run not in self._series:
                self._series[run] = RunSeries()
                self._rewind(run)  # the reader may be further on, from when the run was watched before
            self._series.move_to_end(run)
        while len(self._series) > max(self._kept, len(runs)):
            self._series.popitem(last=False)

    def add(self, run: str, start: int, end: int, events: Iterable[Event]) -> bool:
        """Take in the events between two bytes of a log; whether they belonged where the series ends."""
        series = self._series.get(run)
        if series is None:
            return False
        if start == 0:
            series.reset()
        elif start != series.offset:
            self._rewind(run)
            return False
        series.feed(events)
        series.offset = end
        return True
