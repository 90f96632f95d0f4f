"""Figures of curves, scores and pictures. matplotlib is loaded only when a figure is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

from dipddpm.core.report.interval_plot import IntervalPlot, draw_intervals
from dipddpm.core.report.style import COLOURS, INK, QUIET, SCREEN, STYLE, SYMBOLS, FigureStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MARKER_SYMBOLS = "^vsD"
_METADATA: Mapping[str, Any] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata to leave out, so that the same numbers give the same file."""
_LARGEST = 1e15
"""Values of at least this size are not drawn."""
_LOG_RANGE = 8.0
"""Ratio of the largest to the smallest value from which a loss is drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """Points in the order in which a line joins them; `spread` is drawn as error bars.

    A background curve is grey and not listed in the legend.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()
    marks: bool = field(default=True, kw_only=True)
    background: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Marker:
    """A highlighted point; points of the same name share one symbol and one legend entry."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class LinePlot:
    """A plot of named curves, markers, and levels, which are drawn as horizontal dashed lines."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    markers: Sequence[Marker] = ()


@dataclass(frozen=True)
class PlotGrid:
    """Plots side by side in rows of equal length, with the same names in one legend below them."""

    title: str
    rows: Sequence[Sequence[LinePlot]]


@dataclass(frozen=True)
class StripPlot:
    """A row for each name, with all its values as ticks and their mean with 95% bounds."""

    title: str
    x: str
    rows: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class ImagePanels:
    """A picture of images in `columns`, with headings above its columns; the headings repeat from left to right."""

    title: str
    file: Path
    headings: Sequence[str]
    columns: int


Drawing: TypeAlias = LinePlot | PlotGrid | StripPlot | ImagePanels | IntervalPlot


def draw(drawing: Drawing, style: FigureStyle = SCREEN) -> Figure:
    """Draw a figure without a screen or matplotlib's global state. Raises OSError if its picture file is missing."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_style(style)):
        figure = Figure(figsize=(style.width, style.height), dpi=style.dpi, layout="constrained")
        if isinstance(drawing, PlotGrid):
            _grid(figure, drawing, style)
            return figure
        if isinstance(drawing, IntervalPlot):
            draw_intervals(figure, drawing, style)
            return figure
        axes = figure.subplots()
        match drawing:
            case LinePlot():
                _plot(axes, drawing)
            case StripPlot():
                figure.set_figheight(max(style.height * 0.6, (len(drawing.rows) + 2.5) * style.font * 1.9 / 72))
                _strip(axes, drawing, style)
            case ImagePanels():
                height, width = _panels(axes, drawing, style)
                lines = 3.8 if style.titled and drawing.headings else 2.4
                figure.set_figheight(style.width * height / width + lines * style.font / 72)
        if style.titled:
            above_headings = 2.2 * style.font if isinstance(drawing, ImagePanels) and drawing.headings else None
            axes.set_title(drawing.title, pad=above_headings)
    return figure


def save(
    drawing: Drawing, path: Path | IO[bytes], style: FigureStyle = SCREEN, kind: Literal["png", "svg", "pdf"] = "png"
) -> None:
    """Draw a figure into a file with reproducible bytes; a PNG in `SCREEN` has 1,200 x 825 pixels. Raises OSError."""
    import matplotlib as mpl

    figure = draw(drawing, style)
    with mpl.rc_context(_style(style)):
        figure.savefig(path, format=kind, metadata=_METADATA[kind])


def svg(figure: Figure) -> str:
    """Return a figure as a reproducible SVG element, without declaration or date and with text as outlines."""
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(out, format="svg", bbox_inches="tight", metadata=_METADATA["svg"])
    text = out.getvalue()
    return text[text.index("<svg") :]


def wants_log(values: Sequence[float]) -> bool:
    """Return whether values suit a logarithmic axis: all positive, and a factor of at least 8 apart."""
    return len(values) > 1 and min(values) > 0 and max(values) / min(values) >= _LOG_RANGE


def _style(style: FigureStyle) -> Any:
    """Return `STYLE` with the font and line sizes of a figure's style."""
    return {
        **STYLE,
        "font.size": style.font,
        "axes.titlesize": style.font * 1.1,
        "legend.fontsize": style.font * 0.92,
        "lines.linewidth": style.line,
        "lines.markersize": style.line * 2.5,
        "grid.linewidth": style.line * 0.45,
        "axes.linewidth": style.line * 0.45,
    }


def _drawable(values: Sequence[float]) -> list[float]:
    """Replace values that are too large for an axis by NaN, which leaves a gap."""
    return [value if abs(value) < _LARGEST else math.nan for value in values]


def _grid(figure: Figure, grid: PlotGrid, style: FigureStyle) -> None:
    """Draw the plots of a grid, each two fifths as high as a whole figure is wide, and their legend below."""
    columns = len(grid.rows[0])
    figure.set_size_inches(style.width * max(1.0, columns * 0.6), style.width * 0.4 * len(grid.rows) + 1.1)
    corners: Any = figure.subplots(len(grid.rows), columns, squeeze=False)
    handles: dict[str, Any] = {}
    for row, plots in zip(corners, grid.rows, strict=True):
        for axes, plot in zip(row, plots, strict=True):
            _plot(axes, plot, legend=False)
            axes.set_title(plot.title)
            handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=min(len(handles), columns + 1))
    if style.titled:
        figure.suptitle(grid.title, x=0.01, ha="left", fontweight="bold")


def _plot(axes: Axes, plot: LinePlot, *, legend: bool = True) -> None:
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    foreground = [curve for curve in plot.curves if not curve.background]
    for curve in plot.curves:
        if curve.background:
            axes.plot(_drawable(curve.x), _drawable(curve.y), color=QUIET, linewidth=0.6, alpha=0.7, zorder=1.5)
    for number, curve in enumerate(foreground):
        axes.errorbar(
            _drawable(curve.x),
            _drawable(curve.y),
            yerr=curve.spread or None,
            label=curve.name,
            color=COLOURS[number % len(COLOURS)],
            linestyle="-" if number < len(COLOURS) else "--",
            marker=SYMBOLS[(number + number // len(COLOURS)) % len(SYMBOLS)] if curve.marks else None,
            capsize=3,
        )
    for number, (name, level) in enumerate(plot.levels.items()):
        axes.axhline(*_drawable([level]), color="0.4", linestyle=("--", ":", "-.")[number % 3], label=name)
    for number, name in enumerate(dict.fromkeys(marker.name for marker in plot.markers)):
        markers = [marker for marker in plot.markers if marker.name == name]
        axes.plot(
            _drawable([marker.x for marker in markers]),
            _drawable([marker.y for marker in markers]),
            linestyle="none",
            marker=MARKER_SYMBOLS[number % len(MARKER_SYMBOLS)],
            markeredgecolor=INK,
            markerfacecolor=INK if number % 2 == 0 else "white",
            label=name,
            markersize=mpl.rcParams["lines.markersize"] * 1.5,
            zorder=3,
        )
    points = [
        point
        for curve in plot.curves
        for point in zip(_drawable(curve.x), _drawable(curve.y), strict=False)
        if all(map(math.isfinite, point))
    ]
    x, y = ([point[axis] for point in points] for axis in range(2))
    if plot.log_x and any(value > 0 for value in x):  # a logarithmic axis needs a positive value
        axes.set_xscale("log")
        _label_plainly(axes.xaxis)
    elif all(float(value).is_integer() for value in x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if plot.log_y and any(value > 0 for value in y):
        axes.set_yscale("log")
        _label_plainly(axes.yaxis)
    axes.set(xlabel=plot.x, ylabel=plot.y)
    axes.grid(visible=True, which="major")
    axes.grid(visible=True, which="minor", alpha=0.5)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [*(curve.name for curve in foreground), *plot.levels, *(marker.name for marker in plot.markers)]
    if legend and len(names) > 1:  # the axis label names a single curve
        order = list(dict.fromkeys(names))
        axes.legend([handles[name] for name in order], order)


def _label_plainly(axis: Axis) -> None:
    """Label a logarithmic axis with numbers such as 0.01 and 30 in place of powers of ten; with few, if it is short."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""  # the base class decides which ticks have a label

    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(1, 0.4)))


def _strip(axes: Axes, strip: StripPlot, style: FigureStyle) -> None:
    from dipddpm.core.evaluation.intervals import interval

    for row, samples in enumerate(strip.rows.values()):
        values = [value for value in _drawable(samples) if not math.isnan(value)]
        if not values:
            continue
        mean, lower, upper, _ = interval(values)
        bounds = None if lower is None or upper is None else [[mean - lower], [upper - mean]]
        axes.plot(values, [row] * len(values), "|", color=INK, alpha=0.45, markersize=style.font, zorder=1.5)
        axes.errorbar([mean], [row], xerr=bounds, fmt="o", color=COLOURS[0], capsize=2.5)
    axes.set_yticks(range(len(strip.rows)), list(strip.rows))
    axes.set(xlabel=strip.x, ylim=(len(strip.rows) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")


def _panels(axes: Axes, panels: ImagePanels, style: FigureStyle) -> tuple[int, int]:
    """Draw the picture and its headings; return the picture's height and width in pixels."""
    from matplotlib.image import imread

    pixels = imread(panels.file, format="png")
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="none")
    axes.set_axis_off()
    max_letters = style.width * 72 / panels.columns / (style.font * 0.62)  # letters above one column
    for column in range(panels.columns if panels.headings else 0):
        heading = panels.headings[column % len(panels.headings)]
        size = style.font * min(1.0, max_letters / max(1, len(heading)))
        axes.text((column + 0.5) * width / panels.columns, -2, heading, ha="center", va="bottom", fontsize=size)
    return height, width
