"""Markdown tables of a comparison of starts: how soon each start is as good as pure noise, and all PSNRs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard, Reached, board_of, seconds_text
from dipddpm.core.evaluation.cell import Cell
from dipddpm.core.evaluation.intervals import interval
from dipddpm.core.runs import Run, reference

STARTS = {"noise": "pure noise", "pinv": "A+ y", "classic": "kriging or bicubic", "lle": "LLE", "dip": "DIP"}
"""The starts in the order of the table's columns, and their headings."""


def measure(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_FOLDER", help="A run of dipddpm run acceleration; by default the one that ships."),
    ] = None,
) -> None:
    """Print a comparison of starts as tables in Markdown."""
    board = board_of(Run(folder or shipped(reference.FOLDER)).events())
    if not isinstance(board, AccelerationBoard):
        raise UserError(f"{folder} has no scores of starts.", "Name the folder of a run of dipddpm run acceleration.")
    print(soonest(board), gains(board), everything(board), sep="\n\n")


def shipped(root: Path) -> Path:
    """Return the folder of the comparison of starts among the reference runs in `root`."""
    return next(path for path in sorted(root.iterdir()) if "-acceleration-" in path.name)


def soonest(board: AccelerationBoard) -> str:
    """Return a table of the seconds after which each start is as good as pure noise at its best."""
    lines = [f"| task, set, samples | goal | {' | '.join(STARTS.values())} |", "|---" * (len(STARTS) + 2) + "|"]
    for cell in board.cells.values():
        for samples in board.samples(cell):
            goal = board.goal(cell, samples)
            found = {each.variant.start: each for each in board.reached(cell, samples)}
            if goal:
                texts = " | ".join(_reached(found[start]) for start in STARTS)
                lines.append(f"| `{cell.task}`, {cell.set}, {samples} | {goal[1].mean.value:.2f} dB | {texts} |")
    return "\n".join(lines)


def gains(board: AccelerationBoard) -> str:
    """Return a table of what the best row of DIP's start gains over the best of the others in the same time."""
    lines = ["| task, set | DIP's best | the others' best in its time | difference in dB |", "|---|---|---|---|"]
    lines += [text for cell in board.cells.values() if (text := _gain(board, cell))]
    return "\n".join(lines)


def everything(board: AccelerationBoard) -> str:
    """Return the table of all PSNRs, as `dipddpm show` prints it, without the verdicts."""
    verdicts = len(board.summary()) + 1
    return "```text\n" + "\n".join(board.lines()[:-verdicts]) + "\n```"


def _gain(board: AccelerationBoard, cell: Cell) -> str:
    gain = board.gain_in_time(cell)
    if gain is None:
        return ""
    ours, best, differences = gain
    difference = interval([*differences.values()]).text()
    return f"| `{cell.task}`, {cell.set} | `{ours.method}` | `{best.method}` | {difference} |"


def _reached(each: Reached) -> str:
    if not each.reaches:
        return f"never ({each.psnr:.2f} dB)"
    how = f"{each.variant.nfe} NFE" if each.variant.sampler else "alone"
    return f"{seconds_text(each.seconds)} ({how})"
