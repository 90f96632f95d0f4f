"""A line chart that follows a run: its axes rarely move, it hides no spike, and only changed cells are sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from rich.segment import Segment
from rich.style import Style

from dipddpm.tui.console.model import axis as axes
from dipddpm.tui.console.model.curves import SERIES_COLOURS, Axis, Binner, Series
from dipddpm.tui.console.model.series import ChartMark
from dipddpm.tui.console.widgets import plot
from dipddpm.tui.console.widgets.lines import LinesWidget, justify

_Binned: TypeAlias = tuple[Series, Sequence[float], Sequence[float]]

EMPTY = "No values to draw."
TICK_CELLS, CLOCK_CELLS = 7, 10
"""Columns for each number of the x axis: a count, or a clock time."""
MAX_FORMER_BESTS = 12
"""If there were more former best models than this, their marks are not drawn, since they would hide the curve."""
MARK_SIGNS = {"lone": "●", "best": "◆", "was best": "•", "stop": "▼", "peak": "▲", "lost": "×"}


class LineChart(LinesWidget):
    """A title with a legend, and the series below. `show` is given whole series; it may be called at any rate."""

    DEFAULT_CSS = """
    LineChart {
        height: 1fr;
        min-height: 4;
        & > .chart--title { text-style: bold; }
        & > .chart--note { color: $text-muted; }
        & > .chart--axis { color: $foreground 40%; }
        & > .chart--tick { color: $foreground 70%; }
        & > .chart--cursor { color: $foreground 60%; }
        & > .chart--mark { color: $success; text-style: bold; }
        & > .chart--lost { color: $error; text-style: bold; }
        & > .chart--series-0 { color: $series-0; }
        & > .chart--series-1 { color: $series-1; }
        & > .chart--series-2 { color: $series-2; }
        & > .chart--series-3 { color: $series-3; }
        & > .chart--series-4 { color: $series-4; }
        & > .chart--series-5 { color: $series-5; }
        & > .chart--series-6 { color: $series-6; }
        & > .chart--series-7 { color: $series-7; }
    }
    """

    _note = ""
    _series: Sequence[Series] = ()
    _marks: Sequence[ChartMark] = ()
    _axis: Axis = "step"
    _limit: float | None = None
    _log_y = False
    _cursor: float | None = None
    _drawn: tuple[plot.PlotData, int, int] | None = None
    _body: Sequence[list[Segment]] = ()

    def __init__(self, title: str = "", *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._title = title
        self._binners: dict[tuple[str, int, bool], Binner] = {}

    def show(
        self,
        series: Iterable[Series],
        *,
        log_y: bool = False,
        x_label: Axis = "step",
        limit: float | None = None,
        marks: Sequence[ChartMark] = (),
        cursor: float | None = None,
        note: str = "",
    ) -> None:
        """Draw these series, with a vertical line at x = `cursor`, and `note` at the right of the title.

        `limit` is the end of the x axis (a run's total), if known. Texts are never taken as markup.
        """
        self._series, self._marks = tuple(series), marks
        self._log_y, self._axis, self._limit, self._cursor = log_y, x_label, limit, cursor
        self._note = note
        self.redraw()

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the title, and the chart or a note that there is no data."""
        lines = [self._header(width)]
        body = height - 1
        if body < 1 or width < plot.GUTTER + 8:
            return lines
        plotted = self._plot_data(width, body)
        if plotted is None:
            note = Segment(EMPTY.center(width)[:width], self.component_style("chart--note"))
            return [*lines, *[[]] * ((body - 1) // 2), [note]]
        dots = plot.to_dots(plotted, width, body)
        if (dots, width, body) != self._drawn:
            self._drawn = dots, width, body
            drawn = plot.render(*self._drawn)
            self._body = [[Segment(text, self._role_style(role)) for text, role in runs] for runs in drawn]
        return [*lines, *self._body]

    def notify_style_update(self) -> None:
        """Draw in the colours of the new theme."""
        self._drawn = None
        super().notify_style_update()

    def _role_style(self, role: int) -> Style:
        if role in plot.ROLE_NAMES:
            return self.component_style(f"chart--{plot.ROLE_NAMES[role]}")
        if role >= plot.FAINT_ROLE:
            return self.component_style(f"chart--series-{role - plot.FAINT_ROLE}") + Style(dim=True)
        return self.component_style(f"chart--series-{role - plot.SERIES_ROLE}") if role else Style.null()

    def _header(self, width: int) -> list[Segment]:
        left = [Segment(self._title, self.component_style("chart--title"))]
        named = [series for series in self._series if not series.faint]
        for series in named if len(named) > 1 else ():
            left += [
                Segment("  "),
                Segment("━ ", self.component_style(f"chart--series-{series.colour % SERIES_COLOURS}")),
                Segment(series.name),
            ]
        return justify(left, [Segment(self._note, self.component_style("chart--note"))] if self._note else [], width)

    def _plot_data(self, width: int, height: int) -> plot.PlotData | None:
        """Return the chart's content; None while no value is finite."""
        ends = [series.x[-1] for series in self._series if len(series.x)]
        if not ends:
            return None
        canvas, rows = plot.canvas(width, height)
        x = self._x_scale(max(ends), canvas)
        binned = [(series, *self._binner(series, x, 2 * canvas).update(series.x, series.y)) for series in self._series]
        values = [value for _, _, ys in binned for value in ys if math.isfinite(value)]
        values += [mark.y for mark in self._marks if math.isfinite(mark.y)]
        log = self._log_y and any(value > 0 for value in values)
        if log:
            values = [value for value in values if value > 0]
        if not values:
            return None
        max_ticks = max(3, (rows + 1) // 3)
        y = (axes.log_scale if log else axes.linear_scale)(min(values), max(values), max_ticks)
        transform = _log10 if log else float
        faint_first = sorted(binned, key=lambda item: not item[0].faint)
        return plot.PlotData(
            x,
            axes.Scale(transform(y.lower), transform(y.upper), tuple(map(transform, y.ticks)), y.labels),
            [plot.PlotLine(_role(series), xs, [transform(value) for value in ys]) for series, xs, ys in faint_first],
            [
                *_single_points(binned, transform),
                *_non_finite_signs(binned, transform(y.upper)),
                *self._signs(x, transform),
            ],
            self._cursor if self._cursor is not None and 0 <= self._cursor <= x.upper else None,
            self._axis,
        )

    def _x_scale(self, end: float, canvas: int) -> axes.Scale:
        high = max(end, self._limit or 0.0)
        known = high == self._limit
        if self._axis == "time":
            return axes.time_scale(high, max(2, canvas // CLOCK_CELLS), exact=known)
        return axes.count_scale(high, max(2, canvas // TICK_CELLS), exact=known)

    def _binner(self, series: Series, x: axes.Scale, columns: int) -> Binner:
        key = (series.name, series.colour, series.faint)
        binner = self._binners.get(key)
        if binner is None or binner.key != (x.lower, x.upper, columns):
            shown_keys = {(shown.name, shown.colour, shown.faint) for shown in self._series}
            self._binners = {known: old for known, old in self._binners.items() if known in shown_keys}
            binner = self._binners[key] = Binner(x.lower, x.upper, columns)
        return binner

    def _signs(self, x: axes.Scale, transform: Callable[[float], float]) -> list[plot.PlotSign]:
        """Return the signs for the marks; former bests are left out if they would hide the curve."""
        past = sum(mark.kind == "was best" for mark in self._marks)
        wanted = [mark for mark in self._marks if past <= MAX_FORMER_BESTS or mark.kind != "was best"]
        points = [(mark, transform(mark.y)) for mark in wanted if x.lower <= mark.x <= x.upper]
        return [
            plot.PlotSign(plot.MARK, mark.x, y, MARK_SIGNS.get(mark.kind, "•"))
            for mark, y in points
            if math.isfinite(y)
        ]


def _single_points(binned: Iterable[_Binned], transform: Callable[[float], float]) -> list[plot.PlotSign]:
    """Return a sign for each series of a single point, which would hardly be visible as a line."""
    signs = []
    for series, xs, ys in binned:
        points = [(at, transform(value)) for at, value in zip(xs, ys, strict=True) if math.isfinite(transform(value))]
        if len(points) == 1:
            signs.append(plot.PlotSign(_role(series), *points[0], MARK_SIGNS["lone"]))
    return signs


def _non_finite_signs(binned: Iterable[_Binned], top: float) -> list[plot.PlotSign]:
    """Return a sign at the upper edge for each value that isn't finite, in series with `marks_non_finite`."""
    return [
        plot.PlotSign(plot.NON_FINITE_ROLE, at, top, MARK_SIGNS["lost"])
        for series, xs, ys in binned
        if series.marks_non_finite
        for at, value in zip(xs, ys, strict=True)
        if not math.isfinite(value)
    ]


def _role(series: Series) -> int:
    return (plot.FAINT_ROLE if series.faint else plot.SERIES_ROLE) + series.colour % SERIES_COLOURS


def _log10(value: float) -> float:
    return math.log10(value) if value > 0 else math.nan
