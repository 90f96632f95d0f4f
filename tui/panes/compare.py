"""Marked runs against each other: curves over curves, what their configs differ in beside what came of it, images.

Of a group, its combinations: each with the mean of its runs, and one standard deviation around it as a band.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import HorizontalScroll, ScrollableContainer
from textual.widgets import Static

from core.config import AnyRun
from core.runs import State
from core.scores import Scoreboard
from tui.columns import fit, number
from tui.lines import duration
from tui.model.band import Curve, band
from tui.model.combine import OUTCOMES, spread, written
from tui.model.compare import differences
from tui.model.curves import Series
from tui.model.runlist import RunRow
from tui.panes.images import inside
from tui.panes.view import Compared, Member, Pane, View
from tui.widgets.chart import LineChart
from tui.widgets.pictures import PictureView

HOW_TO = "Mark runs with m in the list, up to eight; here they are compared.\n\nM unmarks all."
NAME_CELLS = 24
KEY_CELLS = 14
WANTED = ("restored", "samples", "result")
"""The pictures that are put side by side: the first of these names that a run has, else its last picture."""
CURVES_ROWS = 16
PICTURES_ROWS = 34
"""From this height on there is room for a second chart, and for pictures."""


class ComparePane(Pane):
    """Colours are those of the marks in the list."""

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._configs: dict[str, AnyRun | None] = {}
        self._table: Text | None = None
        self._pictured: tuple[str, ...] = ()
        self._gains: dict[tuple[str, int], str] = {}
        """By run and how many of its restorations have been scored."""

    def compose(self) -> ComposeResult:
        """Charts, table, pictures."""
        how = Static(HOW_TO, id="compare-how", markup=False)
        how.display = False
        yield how
        yield LineChart("loss", id="compare-loss")
        yield LineChart("PSNR dB", id="compare-psnr")
        with ScrollableContainer(id="compare-table"):
            yield Static(id="compare-rows", markup=False)
        yield HorizontalScroll(id="compare-pictures")

    def present(self, view: View) -> None:
        """Compare the marked runs, as far as they have been read."""
        marked = view.marked
        self.query_one("#compare-how").display = not marked
        self._show_loss(view)
        self._show_psnr(view)
        self._show_table(marked)
        self._show_pictures(view)

    def _show_loss(self, view: View) -> None:
        preferences = view.preferences
        lines = []
        for compared in view.marked:
            found = [
                next((line for line in series.loss(preferences.axis, preferences.smoothing) if not line.faint), None)
                for series in (member.series for member in compared.members)
            ]
            curves = [(line.x, line.y) for line in found if line is not None and len(line.x)]
            watched = any(line is not None and line.watched for line in found)
            lines += _lines(compared, curves, self._name_cells(view), watched=watched)
        chart = self.query_one("#compare-loss", LineChart)
        chart.display = bool(lines)
        note = "log y" if preferences.log_y else ""
        chart.show(lines, log_y=preferences.log_y, x_label=preferences.axis, note=note)

    def _show_psnr(self, view: View) -> None:
        lines = []
        for compared in view.marked:
            means = [curve for member in compared.members for curve in member.series.psnr()[:1]]
            lines += _lines(compared, [(curve.x, curve.y) for curve in means], self._name_cells(view))
        chart = self.query_one("#compare-psnr", LineChart)
        chart.display = bool(lines) and (self.size.height >= CURVES_ROWS or not self.query_one("#compare-loss").display)
        chart.show(lines, x_label="step")

    def _name_cells(self, view: View) -> int:
        """What a name may take of a legend, so that all of them fit."""
        named = sum(any(member.series.step for member in compared.members) for compared in view.marked)
        return max(6, min(NAME_CELLS, (self.size.width - 24) // max(1, named) - 4))

    # The table

    def _show_table(self, marked: Sequence[Compared]) -> None:
        self.query_one("#compare-table").display = bool(marked)
        table = self._draw_table(marked)
        if table != self._table:
            self._table = table
            self.query_one("#compare-rows", Static).update(table)

    def _draw_table(self, marked: Sequence[Compared]) -> Text:
        each = all(len(compared.rows) == 1 for compared in marked)
        told = differences([self._config(compared.first) for compared in marked]) if each else []
        results = _results(marked, [self._gain(one.first) for one in marked]) if each else _means(marked)
        columns = {"": [compared.title for compared in marked], **results}
        columns |= {entry.key: entry.values for entry in told}
        header = list(columns)
        rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
        widths = [max([cell_len(line[column]) for line in [header, *rows]]) for column in range(len(header))]
        widths = [min(width, NAME_CELLS if column in {0} else KEY_CELLS * 2) for column, width in enumerate(widths)]
        text = Text(no_wrap=True)
        text.append("  " + "  ".join(map(fit, header, widths)) + "\n", Style(bold=True))
        for compared, cells in zip(marked, rows, strict=True):
            text.append("▌ " if compared.members else "  ", self.colour(compared.colour_index))
            text.append("  ".join(map(fit, cells, widths)) + "\n")
        if each and len(marked) > 1 and not told:
            text.append("  Their configs are the same.\n", Style(dim=True))
        if not each:
            text.append("  mean ±standard deviation over the runs that are done\n", Style(dim=True))
        return text

    def _config(self, member: Member) -> AnyRun | None:
        if member.run.id not in self._configs:
            self._configs[member.run.id] = member.run.look().config
        return self._configs[member.run.id]

    def _gain(self, member: Member) -> str:
        """What a hybrid of the run has over the better parent."""
        scored = member.series.restorations
        key = (member.run.id, len(scored))
        if key not in self._gains:
            told = Scoreboard(scored).headline()
            self._gains[key] = "" if told is None or told.gain is None else f"{told.gain:+.2f} dB"
        return self._gains[key]

    def colour(self, index: int) -> Style:
        """The colour of a mark."""
        return self.query_one("#compare-loss", LineChart).tone(f"chart--series-{index}")

    # The pictures

    def _show_pictures(self, view: View) -> None:
        strip = self.query_one("#compare-pictures")
        found = [(compared, _picture(compared.first, view)) for compared in view.marked if compared.members]
        shown = [(compared, file) for compared, file in found if file]
        strip.display = bool(shown) and self.size.height >= PICTURES_ROWS
        files = tuple(str(compared.first.run.folder / file) for compared, file in shown)
        if files == self._pictured or not strip.display:
            return
        self._pictured = files
        views = []
        for compared, file in shown:
            picture = PictureView()
            picture.styles.width = max(24, self.size.width // len(shown))
            views.append(picture)
            self.call_after_refresh(picture.show, inside(compared.first.run, file), compared.title)
        with self.app.batch_update():
            strip.remove_children()
            strip.mount_all(views)


def _lines(compared: Compared, curves: Sequence[Curve], cells: int, *, watched: bool = False) -> list[Series]:
    """The curve of a run; of several runs their mean, and beneath it the edges of the band."""
    title = compared.brief if compared.brief and cell_len(compared.title) > cells else compared.title
    name, colour = fit(title, cells).rstrip(), compared.colour_index
    if len(curves) < 2:
        return [Series(name, x, y, colour, watched=watched) for x, y in curves]
    found = band(curves)
    return [
        Series("lower", found.x, found.lower, colour, faint=True),
        Series("upper", found.x, found.upper, colour, faint=True),
        Series(name, found.x, found.mean, colour),
    ]


def _results(marked: Sequence[Compared], gains: list[str]) -> dict[str, list[str]]:
    """What came of the runs, by column; a column in which nothing stands is left out."""
    rows = [compared.first.row for compared in marked]
    columns = {
        "state": [str(row.state) for row in rows],
        "best loss": [number(row.best_loss) for row in rows],
        "PSNR": [number(row.psnr, 2) for row in rows],
        "peak": [number(row.peak_psnr, 2) for row in rows],
        "gain": gains,
        "took": [duration(row.duration) if row.started else "" for row in rows],
    }
    return {name: cells for name, cells in columns.items() if any(cells)}


def _means(marked: Sequence[Compared]) -> dict[str, list[str]]:
    """The same of combinations: how many runs are done, and their mean and spread."""
    done = [[row for row in compared.rows if row.state is State.finished] for compared in marked]
    columns = {"runs": [_count(len(some), len(one.rows)) for some, one in zip(done, marked, strict=True)]}
    values: dict[str, Callable[[RunRow], float | None]] = {
        "psnr": lambda row: row.psnr,
        "ssim": lambda row: row.ssim,
        "gain": lambda row: row.gain,
        "best_loss": lambda row: row.best_loss,
        "loss": lambda row: row.loss,
    }
    for key, value in values.items():
        measure = OUTCOMES[key]
        columns[measure.title] = [written(spread(map(value, some)), measure.digits) for some in done]
    took = [spread(row.duration for row in some if row.started) for some in done]
    columns["took"] = [duration(found.mean) if found else "" for found in took]
    return {name: cells for name, cells in columns.items() if any(cells)}


def _count(done: int, total: int) -> str:
    return str(total) if done == total else f"{done} of {total}"


def _picture(member: Member, view: View) -> str:
    """The file to show of a run, where the time cursor stands; empty if it has none."""
    pictures = member.series.pictures()
    name = next((name for name in WANTED if name in pictures), next(reversed(pictures), ""))
    found = member.series.picture(name, view.step if view.step is not None else member.series.step)
    return found.file if found else ""
