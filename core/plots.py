"""Curves as a picture, for reports and papers. matplotlib is loaded when one is drawn, and no sooner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind eyes, too (Okabe & Ito 2008)."""
MARKS = "osD^vP*"


@dataclass(frozen=True)
class Curve:
    """Points in the order in which they are joined; `spread` is drawn up and down from each."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] = ()


@dataclass(frozen=True)
class Plot:
    """What is drawn: curves, and levels as dashed lines across, each with its name."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


def save(plot: Plot, path: Path | IO[bytes]) -> None:
    """Draw it into a PNG file, 1,200 x 825 pixels. Raises OSError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(plot.curves):
        axes.errorbar(
            curve.x,
            curve.y,
            yerr=curve.spread or None,
            label=curve.name,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKS[(number + number // len(COLOURS)) % len(MARKS)],
            markersize=5,
            capsize=3,
        )
    for number, (name, level) in enumerate(plot.levels.items()):
        axes.axhline(level, color="0.4", linestyle=("--", ":", "-.")[number % 3], label=name)
    axes.set_xscale("log" if plot.log_x else "linear")
    axes.set_yscale("log" if plot.log_y else "linear")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(visible=True, which="both", color="0.9")
    axes.legend()
    figure.savefig(path, format="png", metadata={"Software": None})
