"""The scoreboard of a comparison as files: JSON, a text table, and plots of quality against time."""

from __future__ import annotations

from typing import Any

import msgspec

from dipddpm.core.evaluation.acceleration import AccelerationBoard
from dipddpm.core.evaluation.cell import YARDSTICKS, Cell, Yardstick
from dipddpm.core.evaluation.gain_map import MapBoard
from dipddpm.core.evaluation.rows import COSTS, MethodScores
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Pictures
from dipddpm.core.report import acceleration, gain_map
from dipddpm.core.report.plots import draw
from dipddpm.core.report.scoreboard import quality_time
from dipddpm.core.report.style import SCREEN


def as_json(board: Scoreboard) -> str:
    """Return every score of every image, and every gain with its bounds, as JSON."""
    document = {"cells": [_cell(board, cell) for cell in board.cells.values()], "means": _means(board)}
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def as_text(board: Scoreboard) -> str:
    """Return the tables of all cells, followed by the gains, as text."""
    return "\n".join(board.lines()) + "\n"


def pictures(board: Scoreboard, step: int) -> list[Pictures]:
    """Return a plot of PSNR against seconds per image for each task, averaged over the sets."""
    from dipddpm.core.report.study_figures import pixels

    tasks = dict.fromkeys(cell.task for cell in board.cells.values())
    return [
        Pictures(
            name=f"quality-time-{number}",
            images=pixels(draw(quality_time(board, task)), SCREEN.dpi),
            step=step,
            title=task,
            columns=1,
        )
        for number, task in enumerate(tasks, 1)
    ]


def starts_picture(board: AccelerationBoard, step: int) -> Pictures:
    """Return the figure of a comparison of starts."""
    from dipddpm.core.report.study_figures import pixels

    grid = acceleration.figure(board)
    return Pictures(name="acceleration", images=pixels(draw(grid, SCREEN), 110), step=step, title=grid.title, columns=1)


def map_picture(board: MapBoard, step: int) -> Pictures:
    """Return the figure of a map of gains."""
    from dipddpm.core.report.study_figures import pixels

    drawing = gain_map.figure(board)
    return Pictures(name="map", images=pixels(draw(drawing, SCREEN), 110), step=step, title=drawing.title, columns=1)


def _cell(board: Scoreboard, cell: Cell) -> dict[str, Any]:
    gains = {hybrid: {name: _gain(cell, hybrid, name) for name in YARDSTICKS} for hybrid in board.hybrids}
    return {
        "task": cell.task,
        "set": cell.set,
        "size": cell.size,
        "methods": [_row(row) for row in cell.rows.values()],
        "missing": [{"method": m.method, "failed": m.failed, "why": m.why} for m in cell.missing.values()],
        "gains": gains,
    }


def _gain(cell: Cell, hybrid: str, yardstick: Yardstick) -> dict[str, Any] | None:
    gain, best = cell.gain(hybrid, yardstick), cell.best(hybrid, yardstick)
    return {"best": best.label, **gain._asdict()} if gain and best else None


def _row(row: MethodScores) -> dict[str, Any]:
    scores = {name: getattr(row, name) for name in ("method", "budget_of", "psnr", "ssim", "accuracy")}
    scores |= {"images": list(row.by_image), "mean": row.mean.value, "exact": row.mean.exact}
    return scores | {name: row.average(name) for name in COSTS}


def _means(board: Scoreboard) -> list[dict[str, Any]]:
    return [
        {
            "hybrid": hybrid,
            "over": YARDSTICKS[gain.yardstick],
            "impulses": impulses,
            "size": gain.size,
            **gain.interval._asdict(),
        }
        for hybrid in board.hybrids
        for impulses in (True, False)
        for gain in board.gains(hybrid, impulses=impulses)
    ]
