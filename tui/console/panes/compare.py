"""The compare pane: curves of the marked runs in common charts, a table of results and options, and pictures.

For a group it compares the combinations of options, each as the mean of its runs and a band of one standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import HorizontalScroll, ScrollableContainer
from textual.widgets import Static

from dipddpm.core.config import AnyRun
from dipddpm.core.runs import RunState
from dipddpm.tui.console.model.curves import Curve, Series, band
from dipddpm.tui.console.model.views import ComparedRun, ComparisonEntry, View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.widgets.chart import LineChart
from dipddpm.tui.console.widgets.pictures import PictureFile, PictureView
from dipddpm.tui.shared.columns import fit, format_gain, format_number, format_psnr
from dipddpm.tui.shared.combine import OUTCOMES, compute_spread, differences, format_spread
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.runlist import RunRow

HOW_TO = "Mark up to eight runs in the list with m to compare them here.\n\nM unmarks all runs."
NAME_CELLS = 24
KEY_CELLS = 14
PREFERRED_PICTURES = ("restored", "samples", "result")
"""The names of pictures to compare: the first one that a run has, else its last picture."""
CURVES_ROWS = 16
"""Height from which there is a second chart."""
PICTURES_ROWS = 34
"""Height from which there are pictures."""


class ComparePane(Pane):
    """The comparison of the marked runs or of a group; each run has the colour of its mark in the list."""

    _table: Text | None = None
    _shown_files: tuple[str, ...] = ()

    def compose(self) -> ComposeResult:
        """Add the charts, the table and the pictures."""
        yield Static(HOW_TO, id="compare-how", markup=False)
        yield LineChart("loss", id="compare-loss")
        yield LineChart("PSNR dB", id="compare-psnr")
        yield LineChart("residual, grey levels", id="compare-misfit")
        with ScrollableContainer(id="compare-table"):
            yield Static(id="compare-rows", markup=False)
        yield HorizontalScroll(id="compare-pictures")

    def present(self, view: View) -> None:
        """Compare the marked runs or the group, as far as they have been read."""
        marked = view.marked
        self.query_one("#compare-how").display = not marked
        self._show_loss(view)
        self._show_psnr(view)
        self._show_misfit(view)
        self._show_table(view)
        self._show_pictures(view)

    def _show_loss(self, view: View) -> None:
        preferences = view.preferences
        lines = []
        for compared in view.marked:
            loss_lines = [
                next((line for line in series.loss(preferences.axis, preferences.smoothing) if not line.faint), None)
                for series in (member.series for member in compared.members)
            ]
            curves = [(line.x, line.y) for line in loss_lines if line is not None and len(line.x)]
            marks_non_finite = any(line is not None and line.marks_non_finite for line in loss_lines)
            lines += _lines(compared, curves, self._name_cells(view), marks_non_finite=marks_non_finite)
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

    def _show_misfit(self, view: View) -> None:
        lines = []
        for compared in view.marked:
            residuals = [line for member in compared.members for line in member.series.misfit()[:1]]
            lines += _lines(compared, [(line.x, line.y) for line in residuals], self._name_cells(view))
        chart = self.query_one("#compare-misfit", LineChart)
        chart.display = bool(lines) and self.size.height >= CURVES_ROWS
        chart.show(lines, x_label="step")

    def _name_cells(self, view: View) -> int:
        """Return the columns for each name in a legend, so that all names fit."""
        named = sum(any(member.series.step for member in compared.members) for compared in view.marked)
        return max(6, min(NAME_CELLS, (self.size.width - 24) // max(1, named) - 4))

    # The table

    def _show_table(self, view: View) -> None:
        self.query_one("#compare-table").display = bool(view.marked)
        table = self._draw_table(view.marked, view.configs)
        if table != self._table:
            self._table = table
            self.query_one("#compare-rows", Static).update(table)

    def _draw_table(self, marked: Sequence[ComparisonEntry], configs: Sequence[AnyRun | None]) -> Text:
        single_runs = all(len(compared.rows) == 1 for compared in marked)
        differing = differences(configs) if single_runs and configs else {}
        columns = {"": [compared.title for compared in marked], **(_results if single_runs else _means)(marked)}
        columns |= differing
        header = list(columns)
        rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
        widths = [max(map(cell_len, cells)) for cells in zip(header, *rows, strict=True)]
        widths = [min(width, KEY_CELLS * 2 if column else NAME_CELLS) for column, width in enumerate(widths)]
        text, chart = Text(no_wrap=True), self.query_one("#compare-loss", LineChart)
        text.append("  " + "  ".join(map(fit, header, widths)) + "\n", Style(bold=True))
        for compared, cells in zip(marked, rows, strict=True):
            colour = chart.component_style(f"chart--series-{compared.colour_index}")
            text.append("▌ " if compared.members else "  ", colour)
            text.append("  ".join(map(fit, cells, widths)) + "\n")
        if single_runs and len(marked) > 1 and configs and not differing:
            text.append("  The configs are the same.\n", Style(dim=True))
        if not single_runs:
            text.append("  mean ±standard deviation over the runs that are done\n", Style(dim=True))
        return text

    # The pictures

    def _show_pictures(self, view: View) -> None:
        strip = self.query_one("#compare-pictures")
        drawn = [compared for compared in view.marked if compared.members]
        shown = [(compared, file) for compared in drawn if (file := _picture(compared.members[0], view))]
        strip.display = bool(shown) and self.size.height >= PICTURES_ROWS
        files = tuple(str(compared.members[0].run.folder / file) for compared, file in shown)
        if files == self._shown_files or not strip.display:
            return
        self._shown_files = files
        views = []
        for compared, file in shown:
            picture = PictureView()
            picture.styles.width = max(24, self.size.width // len(shown))
            views.append(picture)
            self.call_after_refresh(picture.show, PictureFile(compared.members[0].run.folder, file), compared.title)
        with self.app.batch_update():
            strip.remove_children()
            strip.mount_all(views)


def _lines(
    compared: ComparisonEntry, curves: Sequence[Curve], cells: int, *, marks_non_finite: bool = False
) -> list[Series]:
    """Return the curve of a run; for several runs, the edges of the band and their mean."""
    title = compared.short_title if compared.short_title and cell_len(compared.title) > cells else compared.title
    name, colour = fit(title, cells).rstrip(), compared.colour_index
    if len(curves) < 2:
        return [Series(name, x, y, colour, marks_non_finite=marks_non_finite) for x, y in curves]
    mean_band = band(curves)
    return [
        Series("lower", mean_band.x, mean_band.lower, colour, faint=True),
        Series("upper", mean_band.x, mean_band.upper, colour, faint=True),
        Series(name, mean_band.x, mean_band.mean, colour),
    ]


def _results(marked: Sequence[ComparisonEntry]) -> dict[str, list[str]]:
    """Return the runs' results by column, without empty columns."""
    texts: dict[str, Callable[[RunRow], str]] = {
        "state": lambda row: str(row.state),
        "best loss": lambda row: format_number(row.best_loss),
        "PSNR": lambda row: format_psnr(row.result),
        "peak": lambda row: format_psnr(row.peak_psnr, row.peak_exact),
        "gain": format_gain,
        "predicted PSNR": lambda row: row.quality.prediction_text if row.quality else "",
        "misfit": lambda row: row.quality.misfit_text if row.quality else "",
        "took": lambda row: format_duration(row.duration) if row.started else "",
    }
    columns = {name: [text(compared.rows[0]) for compared in marked] for name, text in texts.items()}
    return {name: cells for name, cells in columns.items() if any(cells)}


def _means(marked: Sequence[ComparisonEntry]) -> dict[str, list[str]]:
    """Return the combinations' results by column: the number of finished runs, and their means and spreads."""
    done = [[row for row in compared.rows if row.state is RunState.finished] for compared in marked]
    columns = {"runs": [_count(len(rows), len(compared.rows)) for rows, compared in zip(done, marked, strict=True)]}
    for key in ("psnr", "ssim", "gain", "predicted", "residual", "best_loss", "loss"):
        title, digits = OUTCOMES[key]
        spreads = [compute_spread(row.result if key == "psnr" else getattr(row, key) for row in rows) for rows in done]
        columns[title] = [format_spread(spread, digits) for spread in spreads]
    took = [compute_spread(row.duration for row in rows if row.started) for rows in done]
    columns["took"] = [format_duration(seconds.mean) if seconds else "" for seconds in took]
    return {name: cells for name, cells in columns.items() if any(cells)}


def _count(done: int, total: int) -> str:
    return str(total) if done == total else f"{done} of {total}"


def _picture(member: ComparedRun, view: View) -> str:
    """Return the file of a run's picture at the time cursor's step; empty if there is none."""
    pictures = member.series.pictures()
    name = next((name for name in PREFERRED_PICTURES if name in pictures), next(reversed(pictures), ""))
    picture = member.series.picture(name, view.step if view.step is not None else member.series.step)
    return picture.file if picture else ""
