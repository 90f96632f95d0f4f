"""The map of gains as a figure: the gain of each cell with its bounds, on both sides of zero. Loads no torch."""

from __future__ import annotations

from dipddpm.core.evaluation.gain_map import MapBoard, MapCell
from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import Block, Heading, Table
from dipddpm.core.report.interval_plot import IntervalMark, IntervalPanel, IntervalPlot


def figure(board: MapBoard) -> IntervalPlot:
    """Return a panel for each set of images, a row for each degradation and a mark for each prior."""
    cells = board.map_cells()
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    sets = list(dict.fromkeys(cell.set for cell in cells))
    panels = [
        IntervalPanel(f"on {printable(name)}", [_mark(cell) for cell in cells if cell.set == name]) for name in sets
    ]
    return IntervalPlot(
        title="Does DIP + DDPM beat the better of the two?",
        x="PSNR of DIP + DDPM minus that of the better one in the same time, in dB",
        below="the hybrid is worse",
        above="better",
        rows={task: printable(task) for task in tasks},
        names=list(board.priors),
        legend="clean images that the prior saw",
        panels=panels,
    )


def _mark(cell: MapCell) -> IntervalMark:
    return IntervalMark(cell.task, cell.prior, cell.gain.mean, cell.gain.lower, cell.gain.upper)


def cells(board: MapBoard) -> list[Block]:
    """Return a section for each degradation and set: the gains with each prior."""
    blocks: list[Block] = []
    found = board.map_cells()
    for task, name in board.cells:
        rows = [_row(cell) for cell in found if (cell.task, cell.set) == (task, name)]
        if rows:
            heads = ["prior", "gain over the better baseline in dB", "the better baseline", "added by DIP in dB"]
            blocks += [Heading(f"{task} on {name}", 3), Table(heads, rows)]
    return blocks


def _row(cell: MapCell) -> list[str]:
    return [cell.prior, cell.gain.text(), cell.best, "" if cell.by_dip is None else cell.by_dip.text()]
