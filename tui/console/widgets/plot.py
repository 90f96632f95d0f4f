"""A line chart as text, drawn by plotext: from series, marks and axes to runs of characters, each with a role.

plotext takes a tenth of a second to load, so it is loaded with the first chart that has data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dipddpm.tui.console.model.axis import Scale

AXIS, TICK, CURSOR, MARK, NON_FINITE_ROLE = range(1, 6)
ROLE_NAMES = {AXIS: "axis", TICK: "tick", CURSOR: "cursor", MARK: "mark", NON_FINITE_ROLE: "lost"}
"""role -> the suffix of its component class. Series have the roles from `SERIES_ROLE` on, faint ones from `FAINT_ROLE`.

plotext treats roles as colour numbers.
"""
SERIES_ROLE, FAINT_ROLE = 16, 32
GUTTER = 6
"""Columns for the numbers of the y axis, the same in all charts so that they line up."""
FLAT_HEIGHT = 3
"""Charts up to this height have no x axis."""
_CODE = re.compile(r"\x1b\[(?:38;5;(\d+)|[\d;]*)m|([^\x1b]+)")


class PlotLine(NamedTuple):
    """Points joined by a line, with a gap where `y` is not finite."""

    role: int
    x: Sequence[float]
    y: Sequence[float]


class PlotSign(NamedTuple):
    """One character at a point."""

    role: int
    x: float
    y: float
    character: str


class TextRun(NamedTuple):
    """Characters drawn in the same style."""

    text: str
    role: int


class PlotData(NamedTuple):
    """The content of a chart, in the coordinates of its axes."""

    x: Scale
    y: Scale
    lines: Sequence[PlotLine]
    signs: Sequence[PlotSign] = ()
    cursor: float | None = None
    label: str = ""
    """The x axis' label, drawn in the lower left corner."""


def canvas(width: int, height: int) -> tuple[int, int]:
    """Return the columns and rows left for the curves in a chart of this size."""
    return width - GUTTER - 1, height - 2 if height > FLAT_HEIGHT else height


def to_dots(plot: PlotData, width: int, height: int) -> PlotData:
    """Convert a plot to whole braille dots counted from the lower left, so that plots that look the same are equal."""
    columns, rows = canvas(width, height)
    x, dot_x = _dot_scale(plot.x, 2 * columns)
    y, dot_y = _dot_scale(plot.y, 4 * rows)
    lines = []
    for line in plot.lines:
        dots: list[tuple[float, float]] = []
        for at, value in zip(line.x, line.y, strict=True):
            _extend(dots, (dot_x(at), dot_y(value)) if math.isfinite(value) else (math.inf, math.inf))
        lines.append(PlotLine(line.role, [dot[0] for dot in dots], [dot[1] for dot in dots]))
    signs = [PlotSign(sign.role, dot_x(sign.x), dot_y(sign.y), sign.character) for sign in plot.signs]
    cursor = None if plot.cursor is None else dot_x(plot.cursor)
    return PlotData(x, y, lines, signs, cursor, plot.label)


def render(plot: PlotData, width: int, height: int) -> list[list[TextRun]]:
    """Return the lines of text of a chart given in dots; up to `FLAT_HEIGHT` it has no x axis."""
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    figure.canvas("default")
    figure.axes(False)
    if height > FLAT_HEIGHT:
        figure.axes(True, axis="x", side="lower", pixel=_pixel(AXIS))
    figure.axes(True, axis="y", side="left", pixel=_pixel(AXIS))
    _ruler(figure.ruler("x", "lower"), plot.x, [*plot.x.labels] if height > FLAT_HEIGHT else None)
    _ruler(figure.ruler("y", "left"), plot.y, [label[:GUTTER].rjust(GUTTER) for label in plot.y.labels])
    if plot.cursor is not None:
        figure.line(plot.cursor, orientation=1, pixel=_pixel(CURSOR))
    for line in plot.lines:
        _draw(figure, line)
    for sign in plot.signs:
        figure.draw(figure.signal([sign.x], [sign.y], marker=plotext.marker(sign.character, _pixel(sign.role))))
    drawn = [_parse_runs(text) for text in figure.build().string().split("\n")[:height]]
    if height > FLAT_HEIGHT and plot.label and drawn:
        drawn[-1] = _with_corner_label(drawn[-1], plot.label)
    return drawn


def _extend(dots: list[tuple[float, float]], dot: tuple[float, float]) -> None:
    """Add a dot, unless it repeats the last one; a third dot of a level stretch replaces the second."""
    if dots and dot == dots[-1]:
        return
    if len(dots) > 1 and dots[-2][1] == dots[-1][1] == dot[1]:
        dots[-1] = dot
    else:
        dots.append(dot)


def _dot_scale(scale: Scale, dots: int) -> tuple[Scale, Callable[[float], float]]:
    """Return the axis counted in dots, and a function from a value to the middle of its dot."""
    per_dot = (scale.upper - scale.lower) / dots

    def to_dot(value: float) -> float:
        return min(dots - 1, max(0, math.floor((value - scale.lower) / per_dot + 1e-6))) + 0.5

    return Scale(0.0, float(dots), tuple(map(to_dot, scale.ticks)), scale.labels), to_dot


def _pixel(role: int) -> Any:
    import plotext

    return plotext.pixel(foreground=role)


def _ruler(ruler: Any, scale: Scale, labels: list[str] | None) -> None:
    ruler.pixel(_pixel(TICK))
    ruler.alignment(lim="edge", tick="dynamic")
    ruler.lim(scale.lower, scale.upper)
    if labels is None:
        ruler.frequency(0)
    else:
        ruler.ticks(list(scale.ticks), labels)


def _draw(figure: Any, line: PlotLine) -> None:
    """Draw a line with a gap at each point that isn't finite."""
    import plotext

    finite = [index for index, value in enumerate(line.y) if math.isfinite(value)]
    if not finite:
        return
    x, y = [line.x[index] for index in finite], [line.y[index] for index in finite]
    signal = figure.signal(x, y, marker=plotext.marker("braille", _pixel(line.role))).lines()
    for position in range(1, len(finite)):
        if finite[position] != finite[position - 1] + 1:
            signal.line(position, False)
    figure.draw(signal)


def _parse_runs(text: str) -> list[TextRun]:
    """Split a line into runs of characters, reading plotext's colour codes as roles."""
    runs: list[TextRun] = []
    role = 0
    for match in _CODE.finditer(text):
        if match[2]:
            runs.append(TextRun(match[2], role))
        else:
            role = int(match[1] or 0) if match[1] else role if match[0].startswith("\x1b[48") else 0
    return runs


def _with_corner_label(line: list[TextRun], label: str) -> list[TextRun]:
    """Write the axis' label into the space below the numbers of the y axis, if it fits."""
    text = "".join(run.text for run in line)
    room = len(text) - len(text.lstrip())
    return [TextRun(label[:room].ljust(room), TICK), TextRun(text[room:], TICK)] if room > len(label) else line
