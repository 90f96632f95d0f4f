"""The live pane: a run's loss, PSNR or misfit, learning rate and throughput, and the feed of its events."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, ScrollableContainer, VerticalScroll
from textual.widgets import Static

from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.model.curves import Axis, PsnrCurve, Series
from dipddpm.tui.console.model.series import ChartMark
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.widgets.chart import LineChart
from dipddpm.tui.console.widgets.feed import Feed, feed_entries
from dipddpm.tui.console.widgets.sparkline import PsnrSparkline

RATES_MIN_ROWS = 28
"""Height from which learning rate and throughput have charts."""
PSNR_CHART_MIN_ROWS = 30
"""Height from which PSNR has a chart besides the lines for each image."""
MIN_ROWS = 4
"""Lines of PSNR or scores shown at least; the others scroll."""


class LivePane(Pane):
    """The curves, scores and events that the run has; without PSNR, the loss takes its room.

    Without a truth, the residual beside the noise level takes the place of PSNR, and in a low pane that of the loss.
    """

    _shape: tuple[int, ...] = ()
    _events_shown = 0
    _generation = -1
    _board_key: tuple[int, ...] = ()

    def compose(self) -> ComposeResult:
        """Add the scores, the charts and the feed."""
        with ScrollableContainer(id="live-board"):
            yield Static(id="live-scores", markup=False)
        yield LineChart("loss", id="live-loss")
        yield LineChart("PSNR dB", id="live-psnr")
        yield LineChart("misfit, grey levels", id="live-misfit")
        with VerticalScroll(id="live-images"):
            yield PsnrSparkline()
        with Horizontal(id="live-paces"):
            yield LineChart("learning rate", id="live-lr")
            yield LineChart("images/s", id="live-speed")
        yield Feed(id="live-feed")

    def clear(self) -> None:
        """Drop the previous run's events and scores."""
        self.query_one(Feed).clear()
        self._board_key = ()
        self._events_shown, self._generation = 0, -1

    def present(self, view: View) -> None:
        """Show the run's curves, with its values now or at the time cursor."""
        curves = view.series.psnr()
        self._show_board(view)
        self._lay_out(len(curves), rates=any(len(curve.x) for curve in _rates(view)), words_only=_has_words_only(view))
        self._show_loss(view)
        self._show_misfit(view)
        if curves:
            self._show_psnr(view, curves)
        self._show_rates(view)
        self._update_feed(view)

    def _lay_out(self, curves: int, *, rates: bool, words_only: bool) -> None:
        """Share the height among the widgets, if it or the curves have changed."""
        height = self.size.height
        shape = (height, curves, rates, words_only)
        if shape == self._shape:
            return
        self._shape = shape
        images = self.query_one("#live-images")
        images.display = bool(curves)
        images.styles.max_height = max(MIN_ROWS, height // 3)
        self.query_one("#live-psnr").display = bool(curves) and height >= PSNR_CHART_MIN_ROWS
        self.query_one("#live-paces").display = rates and height >= RATES_MIN_ROWS
        feed = self.query_one(Feed)
        feed.wraps = words_only
        feed.styles.height = "1fr" if words_only else max(4, height // 5)

    def _show_board(self, view: View) -> None:
        """Show the scores of restorations, if there are any; without curves they take all the room."""
        scored, board = view.series.restorations, self.query_one("#live-board")
        curves = bool(view.series.psnr()) or any(len(line.x) for line in view.series.loss("step"))
        self.query_one("#live-loss").display = curves or not (scored or _has_words_only(view))
        board.display = bool(scored)
        board.styles.height = "1fr" if not curves else max(MIN_ROWS, self.size.height // 3)
        key = (len(scored), view.series.generation, self.size.width)
        if scored and key != self._board_key:
            self._board_key = key
            lines = board_of(scored).lines(self.size.width - 2, newest_first=True)
            self.query_one("#live-scores", Static).update("\n".join(map(printable, lines)))

    def _show_loss(self, view: View) -> None:
        series, preferences = view.series, view.preferences
        axis = _axis(view)
        notes = ["log y"] * preferences.log_y
        notes += [f"smoothed {preferences.smoothing:g}"] * bool(preferences.smoothing)
        self.query_one("#live-loss", LineChart).show(
            series.loss(axis, preferences.smoothing),
            log_y=preferences.log_y,
            x_label=axis,
            limit=series.limit(axis),
            marks=series.best_marks(axis),
            cursor=None if view.step is None else series.x_of(view.step, axis),
            note="  ".join(notes),
        )

    def _show_misfit(self, view: View) -> None:
        lines, series = view.series.misfit(), view.series
        chart, loss = self.query_one("#live-misfit", LineChart), self.query_one("#live-loss")
        chart.display = bool(lines)
        if lines:
            loss.display = loss.display and self.size.height >= PSNR_CHART_MIN_ROWS
            chart.show(lines, limit=series.limit("step"), marks=series.misfit_marks(), cursor=view.step)

    def _show_psnr(self, view: View, curves: list[PsnrCurve]) -> None:
        limit = view.series.limit("step")
        self.query_one(PsnrSparkline).show(curves, limit=limit, cursor=view.step)
        chart = self.query_one("#live-psnr", LineChart)
        if chart.display:
            means = [curve for curve in curves if curve.image < 0]
            lines = [Series(curve.label, curve.x, curve.y, index) for index, curve in enumerate(means)]
            marks = [
                ChartMark(spot.step, spot.value, kind)
                for spot, kind in ((means[0].stop, "stop"), (means[0].peak, "peak"))
                if spot is not None
            ]
            chart.show(lines, limit=limit, marks=marks, cursor=view.step)

    def _show_rates(self, view: View) -> None:
        if not self.query_one("#live-paces").display:
            return
        axis = _axis(view)
        cursor = None if view.step is None else view.series.x_of(view.step, axis)
        for name, curve in zip(("#live-lr", "#live-speed"), _rates(view), strict=True):
            self.query_one(name, LineChart).show([curve], x_label=axis, limit=view.series.limit(axis), cursor=cursor)

    def _update_feed(self, view: View) -> None:
        """Add the new events; after a resume, which makes some events void, show all of them again."""
        series, feed = view.series, self.query_one(Feed)
        if series.generation != self._generation:
            feed.clear()
            self._events_shown, self._generation = 0, series.generation
        if series.event_count > self._events_shown:
            new_events = series.recent_events(self._events_shown)
            self._events_shown = series.event_count
            feed.add(feed_entries(new_events))


def _has_words_only(view: View) -> bool:
    """Return whether the run restores given pictures by methods without a loss, so that only its feed has news."""
    series = view.series
    is_picture = series.started is not None and series.started.kind == "image"
    return is_picture and not any(len(line.x) for line in series.loss("step"))


def _axis(view: View) -> Axis:
    """Return the user's x axis, or steps if the run doesn't have it."""
    chosen = view.preferences.axis
    return chosen if chosen in view.series.axes() else "step"


def _rates(view: View) -> tuple[Series, Series]:
    return view.series.rates(_axis(view))
