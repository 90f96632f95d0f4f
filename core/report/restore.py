"""The scoreboard of a comparison as files: JSON, a text table, and plots of quality against time."""

from __future__ import annotations

from typing import Any

import msgspec

from dipddpm.core.evaluation.intervals import Interval
from dipddpm.core.evaluation.scoreboard import BASELINES, COSTS, Cell, MethodScores, Scoreboard
from dipddpm.core.events import Pictures
from dipddpm.core.report.plots import SCREEN, draw
from dipddpm.core.report.scoreboard import quality_time


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


def _cell(board: Scoreboard, cell: Cell) -> dict[str, Any]:
    gains = {hybrid: _bounds(cell.gain(hybrid)) for hybrid in board.hybrids}
    better = {hybrid: row.method for hybrid in board.hybrids if (row := cell.baseline(hybrid))}
    return {
        "task": cell.task,
        "set": cell.set,
        "methods": [_row(row) for row in cell.rows.values()],
        "missing": [{"method": m.method, "failed": m.failed, "why": m.why} for m in cell.missing.values()],
        "better_parent": better,
        "gain": gains,
    }


def _row(row: MethodScores) -> dict[str, Any]:
    scores = {name: getattr(row, name) for name in ("method", "budget_of", "psnr", "ssim", "accuracy")}
    scores |= {"mean": row.mean.value, "exact": row.mean.exact}
    return scores | {name: row.average(name) for name in COSTS}


def _means(board: Scoreboard) -> list[dict[str, Any]]:
    return [
        {"hybrid": hybrid, "cells": name, "against": against or "the better parent", "gain": _bounds(gain)}
        for hybrid in board.hybrids
        for name, cells in board.groups().items()
        for against in ("", *BASELINES)
        if (gain := board.gain(hybrid, cells, against))
    ]


def _bounds(gain: Interval | None) -> dict[str, float | None] | None:
    return gain._asdict() if gain else None
