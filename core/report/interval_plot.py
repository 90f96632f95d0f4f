"""A figure of many differences with their bounds, on both sides of zero. matplotlib is loaded only for drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dipddpm.core.report.style import COLOURS, INK, QUIET, SYMBOLS, FigureStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FARTHEST = 97.0
"""Percentile of the differences' sizes up to which the axis reaches; farther ones are marked at its end."""
LEGEND_COLUMNS = 3
ROW_HEIGHT = 3.4
"""Height of a row, in heights of a letter."""


@dataclass(frozen=True)
class IntervalMark:
    """A difference in a row of a panel, with its bounds, if it has any."""

    row: str
    name: str
    mean: float
    lower: float | None
    upper: float | None

    @property
    def excludes_zero(self) -> bool:
        """True if 0 isn't within the bounds."""
        return self.lower is not None and self.upper is not None and not self.lower <= 0 <= self.upper


@dataclass(frozen=True)
class IntervalPanel:
    """Marks side by side with those of the other panels, which have the same rows."""

    title: str
    marks: Sequence[IntervalMark]


@dataclass(frozen=True)
class IntervalPlot:
    """Panels of differences; each name has a colour in all of them. A mark whose bounds hold 0 is hollow.

    `rows` are the labels of the rows by their keys; `below` and `above` say what the two sides of zero mean.
    """

    title: str
    x: str
    below: str
    above: str
    rows: Mapping[str, str]
    names: Sequence[str]
    legend: str
    panels: Sequence[IntervalPanel]


def draw_intervals(figure: Figure, plot: IntervalPlot, style: FigureStyle) -> None:
    """Draw the panels of a plot side by side, with one axis of rows, and one legend below."""
    from matplotlib.lines import Line2D

    count = max(1, len(plot.panels))
    height = (len(plot.rows) * ROW_HEIGHT + 11) * style.font / 72
    figure.set_size_inches(max(style.width, style.width * (0.35 + 0.42 * count)), height)
    row_of_axes = figure.subplots(1, count, sharey=True, sharex=True, squeeze=False)[0]
    sizes = sorted(abs(mark.mean) for panel in plot.panels for mark in panel.marks if math.isfinite(mark.mean))
    reach = sizes[min(len(sizes) - 1, round(FARTHEST / 100 * len(sizes)))] * 1.15 if sizes else 1.0
    for axes, panel in zip(row_of_axes, plot.panels, strict=False):
        _panel(axes, panel, plot, max(reach, 1e-3))
    keys = list(plot.rows)
    row_of_axes[0].set_yticks(range(len(keys)), [plot.rows[key] for key in keys])
    row_of_axes[0].set_ylim(max(1, len(keys)) - 0.5, -0.5)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=SYMBOLS[i % len(SYMBOLS)], linestyle="none", label=name)
        for i, name in enumerate(plot.names)
    ]
    hollow = "hollow: the bounds hold 0"
    handles.append(Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="none", label=hollow))
    figure.legend(handles=handles, title=plot.legend, loc="outside lower center", ncols=LEGEND_COLUMNS)
    if style.titled:
        figure.suptitle(plot.title, x=0.01, ha="left", fontweight="bold")


def _panel(axes: Axes, panel: IntervalPanel, plot: IntervalPlot, reach: float) -> None:
    keys = list(plot.rows)
    axes.axvspan(0, reach * 1.05, color=COLOURS[2], alpha=0.07, zorder=0)
    axes.axvline(0, color=INK, linewidth=1.4, zorder=2)
    for mark in panel.marks:
        if not math.isfinite(mark.mean):
            continue
        number = plot.names.index(mark.name)
        y = keys.index(mark.row) + 0.72 * ((number + 0.5) / len(plot.names) - 0.5)
        colour = COLOURS[number % len(COLOURS)]
        if mark.lower is not None and mark.upper is not None:
            ends = [max(-reach, mark.lower), min(reach, mark.upper)]
            axes.plot(ends, [y, y], color=colour, linewidth=0.9, alpha=0.75, zorder=2.5)
        beyond = abs(mark.mean) > reach
        axes.plot(
            [max(-reach, min(reach, mark.mean))],
            [y],
            linestyle="none",
            marker=("<" if mark.mean < 0 else ">") if beyond else SYMBOLS[number % len(SYMBOLS)],
            color=colour,
            markerfacecolor=colour if mark.excludes_zero or beyond else "white",
            zorder=3,
        )
    for row in range(1, len(keys)):
        axes.axhline(row - 0.5, color=QUIET, linewidth=0.4, zorder=1)
    axes.set_title(f"{panel.title}\n")
    axes.set_xlabel(plot.x)
    axes.text(0.48, 1.0, f"{plot.below} ←", transform=axes.transAxes, ha="right", va="bottom", fontsize="small")
    axes.text(0.52, 1.0, f"→ {plot.above}", transform=axes.transAxes, ha="left", va="bottom", fontsize="small")
    axes.set_xlim(-reach * 1.05, reach * 1.05)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
