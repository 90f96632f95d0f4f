"""The board of a head-to-head as files: JSON for machines, a table for people, and quality against time as pictures."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dipddpm.core.evaluation.intervals import Interval
from dipddpm.core.evaluation.scoreboard import BASELINES, Cell, MethodScores, Scoreboard
from dipddpm.core.events import Pictures
from dipddpm.core.report import plots
from dipddpm.core.report.quality_time import quality_time


def as_json(board: Scoreboard) -> str:
    """Every score, image by image, and every gain with its bounds."""
    document = {"cells": [_cell(board, cell) for cell in board.cells.values()], "means": _means(board)}
    return msgspec.json.format(msgspec.json.encode(document)).decode() + "\n"


def as_text(board: Scoreboard) -> str:
    """The tables, and below them what comes of it."""
    return "\n".join(board.lines()) + "\n"


def pictures(board: Scoreboard, step: int) -> list[Pictures]:
    """For each task, PSNR against seconds an image, on the mean of the sets."""
    tasks = dict.fromkeys(cell.task for cell in board.cells.values())
    return [
        Pictures(name=f"quality-time-{number}", images=_drawn(board, task), step=step, title=task, columns=1)
        for number, task in enumerate(tasks, 1)
    ]


def _drawn(board: Scoreboard, task: str) -> Tensor:
    file = io.BytesIO()
    plots.save(quality_time(board, task), file)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).unsqueeze(0).float() / 255


def _cell(board: Scoreboard, cell: Cell) -> dict[str, Any]:
    gains = {hybrid: _bounds(cell.gain(hybrid)) for hybrid in board.hybrids}
    better = {hybrid: row.method for hybrid in board.hybrids if (row := cell.better_baseline(hybrid))}
    return {
        "task": cell.task,
        "set": cell.set,
        "methods": [_row(row) for row in cell.rows.values()],
        "missing": [{"method": m.method, "failed": m.failed, "why": m.why} for m in cell.missing.values()],
        "better_parent": better,
        "gain": gains,
    }


def _row(row: MethodScores) -> dict[str, Any]:
    names = ("method", "budget_of", "mean", "psnr", "ssim", "accuracy", "nfe", "iterations", "runs", "seconds")
    return {name: getattr(row, name) for name in names}


def _means(board: Scoreboard) -> list[dict[str, Any]]:
    return [
        {"hybrid": hybrid, "cells": name, "against": against or "the better parent", "gain": _bounds(gain)}
        for hybrid in board.hybrids
        for name, cells in board.groups().items()
        for against in ("", *BASELINES)
        if (gain := board.gain(hybrid, cells, against))
    ]


def _bounds(gain: Interval | None) -> dict[str, float] | None:
    return gain._asdict() if gain else None
