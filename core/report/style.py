"""The style of the program's figures: colours, settings of matplotlib, and sizes. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind readers can distinguish, too (Okabe & Ito 2008)."""
SYMBOLS = "osD^vP*"
"""Markers of curves and marks, in the order of the colours."""
INK, QUIET = "#1f2933", "#9aa5b1"
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "dipddpm",
    "pdf.fonttype": 42,  # fonts that publishers accept, not Type 3
}
"""Settings of matplotlib for every figure of the program."""


@dataclass(frozen=True)
class FigureStyle:
    """The size of a figure in inches, of its font and lines in points, and whether it shows its title."""

    width: float
    height: float
    font: float
    line: float
    dpi: int
    titled: bool = True


SCREEN = FigureStyle(8, 5.5, 10, 1.8, 150)
PAGE = FigureStyle(6.4, 3.2, 9, 1.6, 110, titled=False)
"""A figure across an HTML page, which shows the title below it."""
COLUMN = FigureStyle(3.35, 2.3, 7.5, 1.1, 300, titled=False)
"""A figure for one column (8.5 cm) of a paper in two columns, whose caption holds the title."""
