"""PSNR over the steps, one line each for the mean and the images, with the peak and the early stop marked."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size

from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.model.curves import PsnrCurve
from dipddpm.tui.console.widgets.lines import LinesWidget

BARS = "▁▂▃▄▅▆▇█"
PEAK, STOP, BOTH, NON_FINITE = "▲", "▼", "◆", "×"
SPAN_DB = 6.0
"""Range of the bars in dB below the peak; lower values are cut, so that a fall of half a dB stays visible."""
CELL_WIDTH = 50
"""Columns for each image when images are shown side by side."""
LABEL_WIDTH = 11
SHORT_FACTS, FULL_FACTS = 22, 36
"""Columns for the value, the peak and the stop: without and with their steps."""
FEWEST_BARS = 8


class PsnrSparkline(LinesWidget):
    """The curves from `RunSeries.psnr`; images share lines if there is room, and the mean has its own line."""

    DEFAULT_CSS = """
    PsnrSparkline {
        height: auto;
        & > .spark--label { color: $foreground 80%; }
        & > .spark--line { color: $series-0; }
        & > .spark--after { color: $series-0 45%; }
        & > .spark--peak { color: $success; text-style: bold; }
        & > .spark--stop { color: $warning; text-style: bold; }
        & > .spark--lost { color: $error; text-style: bold; }
        & > .spark--value { color: $foreground; text-style: bold; }
        & > .spark--cursor { text-style: reverse; }
    }
    """

    _curves: Sequence[PsnrCurve] = ()
    _limit: float | None = None
    _cursor: float | None = None

    def show(self, curves: Sequence[PsnrCurve], *, limit: float | None = None, cursor: float | None = None) -> None:
        """Draw these curves with their values at step `cursor`; `limit` is the run's total number of steps."""
        more = len(curves) != len(self._curves)
        self._curves, self._limit, self._cursor = tuple(curves), limit, cursor
        if more:
            self.refresh(layout=True)
        self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return the number of rows of curves."""
        return len(self._rows(width))

    def _rows(self, width: int) -> list[list[PsnrCurve]]:
        means = [curve for curve in self._curves if curve.image < 0]
        images = [curve for curve in self._curves if curve.image >= 0]
        if len(images) == 1 and means:
            return [[images[0]]]  # the mean of a single image adds nothing
        across = max(1, (width + 2) // (CELL_WIDTH + 2))
        return [[curve] for curve in means] + [images[at : at + across] for at in range(0, len(images), across)]

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the rows of curves, in columns of equal width."""
        across = max(1, (width + 2) // (CELL_WIDTH + 2))
        cell = (width + 2) // across - 2
        lines: list[list[Segment]] = []
        for row in self._rows(width)[:height]:
            if row[0].image < 0 or len(self._curves) <= 2:
                lines.append(self._line(row[0], width))
                continue
            line: list[Segment] = []
            for curve in row:
                line += [*self._line(curve, cell), Segment("  ")]
            lines.append(line)
        return lines

    def _line(self, curve: PsnrCurve, width: int) -> list[Segment]:
        label = printable(curve.label, 40)
        if cell_len(label) > LABEL_WIDTH:
            label = set_cell_size(label, LABEL_WIDTH - 1) + "…"
        left = [Segment(set_cell_size(label, LABEL_WIDTH) + " ", self.component_style("spark--label"))]
        facts = self._facts(curve, width - LABEL_WIDTH - 1)
        room = width - LABEL_WIDTH - 1 - Segment.get_line_length(facts)
        bars = self._bars(curve, room) if room > 0 else []
        return Segment.adjust_line_length([*left, *bars, *facts], width)

    def _facts(self, curve: PsnrCurve, room: int) -> list[Segment]:
        """Return the value, the peak and the stop; with their steps if there is room."""
        value = _format_decibel(_value_at(curve, self._cursor), " dB")
        facts = [Segment(value.rjust(9), self.component_style("spark--value"))]
        if room < SHORT_FACTS + FEWEST_BARS:
            return facts if room >= 9 + FEWEST_BARS else []
        full = room >= FULL_FACTS + 2 * FEWEST_BARS
        if curve.peak is not None and _is_past(curve):
            where = f" @{curve.peak.step}" if full else ""
            facts.append(
                Segment(f" {PEAK}{_format_decibel(curve.peak.value)}{where}", self.component_style("spark--peak"))
            )
        if curve.stop is not None:
            known = curve.peak is not None and math.isfinite(curve.stop.value)
            lost = f"{curve.stop.value - curve.peak.value:+.2f}" if known and curve.peak else ""
            where = f"{curve.stop.step} " if full or not lost else ""
            facts.append(Segment(f" {STOP}{where}{lost}", self.component_style("spark--stop")))
        missing = (FULL_FACTS if full else SHORT_FACTS) - Segment.get_line_length(facts)
        return [*facts, Segment(" " * max(0, missing))]

    def _bars(self, curve: PsnrCurve, width: int) -> list[Segment]:
        last = max([self._limit or 0.0, curve.x[-1] if len(curve.x) else 0.0])
        scale = (width - 1) / last if last > 0 else 0.0
        stop = None if curve.stop is None else round(curve.stop.step * scale)
        text = list(_columns(curve, width, scale))
        for spot, sign in ((curve.stop, STOP), (curve.peak if _is_past(curve) else None, PEAK)):
            if spot is not None and (at := min(width - 1, round(spot.step * scale))) < len(text):
                text[at] = BOTH if text[at] == STOP else sign
        segments = [
            Segment(character, self._bar_style(character, stop is not None and at > stop))
            for at, character in enumerate(text)
        ]
        if self._cursor is not None and (at := round(self._cursor * scale)) < len(segments):
            style = segments[at].style or Style.null()
            segments[at] = Segment(segments[at].text, style + self.component_style("spark--cursor"))
        return [*Segment.simplify(segments), Segment(" " * (width - len(text)))]

    def _bar_style(self, character: str, after: bool) -> Style:
        names = {PEAK: "peak", STOP: "stop", BOTH: "peak", NON_FINITE: "lost"}
        return self.component_style(f"spark--{names.get(character, 'after' if after else 'line')}")


def _columns(curve: PsnrCurve, width: int, scale: float) -> str:
    """Return a bar for each column up to the last measurement; a column without one repeats the previous bar."""
    best: dict[int, float] = {}
    for step, value in zip(curve.x, curve.y, strict=True):
        column = min(width - 1, round(step * scale))
        known = best.get(column, math.nan)
        best[column] = value if math.isnan(known) or value > known else known
    finite = [value for value in best.values() if math.isfinite(value)] or [0.0]
    top = math.ceil(max(finite) * 2) / 2  # rounded to half a dB, so that few new peaks move all bars
    bottom = max(math.floor(min(finite) * 2) / 2, top - SPAN_DB)
    text, shown = [], " "
    for column in range(max(best, default=-1) + 1):
        if column in best:
            value = best[column]
            share = (
                (min(value, top) - bottom) / (top - bottom) if top > bottom else 1.0
            )  # an exact image has infinite PSNR
            shown = BARS[round(max(0.0, share) * (len(BARS) - 1))] if value > -math.inf else NON_FINITE
        text.append(shown)
    return "".join(text)


def _value_at(curve: PsnrCurve, step: float | None) -> float:
    """Return the value at or before a step; the last value if `step` is None."""
    if not len(curve.y):
        return math.nan
    if step is None:
        return curve.y[-1]
    row = bisect_right(curve.x, step) - 1
    return curve.y[row] if row >= 0 else math.nan


def _is_past(curve: PsnrCurve) -> bool:
    """Return whether the curve has fallen since its peak; while it climbs, its peak is its last point."""
    return curve.peak is not None and len(curve.x) > 0 and curve.peak.step < curve.x[-1]


def _format_decibel(value: float, unit: str = "") -> str:
    return "exact" if value == math.inf else f"{value:.1f}{unit}" if math.isfinite(value) else f"?{unit}"
