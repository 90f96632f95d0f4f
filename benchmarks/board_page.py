"""Markdown tables of a head-to-head: the gains over cells, and each cell's gain with the row that it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.cell import YARDSTICKS
from dipddpm.core.evaluation.intervals import Interval
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.runs import Run, reference


def measure(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_FOLDER", help="A run of dipddpm restore; by default the one that ships."),
    ] = None,
) -> None:
    """Print the gains of a head-to-head as tables in Markdown."""
    board = Scoreboard(Run(folder or shipped(reference.FOLDER)).events())
    if not board.hybrids:
        raise UserError(f"{folder} has no scores of a hybrid.", "Name the folder of a run of dipddpm restore.")
    print(gains(board), cells(board), sep="\n\n")


def shipped(root: Path) -> Path:
    """Return the folder of the head-to-head among the reference runs in `root`."""
    return next(path for path in sorted(root.iterdir()) if "-restore-" in path.name)


def gains(board: Scoreboard) -> str:
    """Return the table of the first hybrid's mean gains, the smallest first."""
    hybrid = board.hybrids[0]
    everywhere, elsewhere = board.gains(hybrid), {g.yardstick: g for g in board.gains(hybrid, impulses=False)}
    counts = len(everywhere[0].cells), len(next(iter(elsewhere.values())).cells)
    lines = [f"| `{hybrid}` minus | all {counts[0]} cells | the {counts[1]} without impulses |", "|---|---|---|"]
    for gain in everywhere:
        other = elsewhere[gain.yardstick].interval
        lines.append(f"| {YARDSTICKS[gain.yardstick]} | {gain.interval.text()} | {other.text()} |")
    return "\n".join(lines)


def cells(board: Scoreboard) -> str:
    """Return a table with a line for each task and a column for each set: the gain over the best of all rows."""
    hybrid = board.hybrids[0]
    tasks, sets = (list(dict.fromkeys(key[part] for key in board.cells)) for part in (0, 1))
    lines = [f"| task | {' | '.join(sets)} |", "|---" * (len(sets) + 1) + "|"]
    for task in tasks:
        texts = [_cell(board, hybrid, task, name) for name in sets]
        lines.append(f"| `{task}` | {' | '.join(texts)} |")
    return "\n".join(lines)


def _cell(board: Scoreboard, hybrid: str, task: str, name: str) -> str:
    cell = board.cells.get((task, name))
    best, gain = (cell.best(hybrid, "all"), cell.gain(hybrid, "all")) if cell else (None, None)
    if best is None or gain is None:
        return ""
    return f"{gain.mean:+.2f} {_bounds(gain)}<br>{best.method}"


def _bounds(gain: Interval) -> str:
    return gain.text().partition(" ")[2]
