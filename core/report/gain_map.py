"""The map of gains as a figure: the gain of each cell with its bounds, on both sides of zero. Loads no torch."""

from __future__ import annotations

from dipddpm.core.config import Deblur, Denoise, Inpaint, Superres, parse_task
from dipddpm.core.evaluation.gain_map import MapBoard, MapCell
from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import Block, Heading, Table
from dipddpm.core.report.interval_plot import IntervalMark, IntervalPanel, IntervalPlot


def figure(board: MapBoard) -> IntervalPlot:
    """Return a panel for each set of images, a row for each degradation and a mark for each prior."""
    cells = board.map_cells
    tasks = sorted({cell.task for cell in cells}, key=_order)
    sets = list(dict.fromkeys(cell.set for cell in cells))
    panels = [
        IntervalPanel(f"on {printable(name)}", [_mark(cell) for cell in cells if cell.set == name]) for name in sets
    ]
    return IntervalPlot(
        title="DIP + DDPM against the better of the two in the same time: difference in PSNR",
        x="gain in dB",
        below="worse",
        above="better",
        rows={task: printable(task_words(task)) for task in tasks},
        names=list(board.priors),
        legend="the prior was trained on",
        panels=panels,
    )


def task_words(text: str) -> str:
    """Return a task in few words, with its noise level only where that is the degradation."""
    match task := parse_task(text):
        case Denoise(noise="gaussian"):
            return f"noise {task.sigma:g}"
        case Inpaint(mask="", box=0):
            return f"{task.missing:.0%} missing"
        case Inpaint(mask=""):
            return f"box {task.box}x{task.box} missing"
        case Superres():
            return f"1/{task.factor} of the size"
        case Deblur(kernel="gaussian"):
            return f"blur {task.width:g}"
        case _:
            return text


def _order(text: str) -> tuple[str, float, str]:
    """Return a key by which tasks of a kind stand together, the weaker degradations first."""
    match task := parse_task(text):
        case Inpaint(box=0):
            return "a", task.missing, text
        case Inpaint():
            return "b", task.box, text
        case Denoise():
            return "c", task.sigma, text
        case Superres():
            return "d", task.factor, text
        case Deblur():
            return "e", task.width, text


def _mark(cell: MapCell) -> IntervalMark:
    return IntervalMark(cell.task, cell.prior, cell.gain.mean, cell.gain.lower, cell.gain.upper)


def cells(board: MapBoard) -> list[Block]:
    """Return a section for each degradation and set: the gains with each prior."""
    blocks: list[Block] = []
    found = board.map_cells
    for task, name in board.cells:
        rows = [_row(cell) for cell in found if (cell.task, cell.set) == (task, name)]
        if rows:
            heads = ["prior", "gain over the better of the two", "the better one", "added by DIP", "added by diffusion"]
            blocks += [Heading(f"{task} on {name}", 3), Table(heads, rows)]
    return blocks


def _row(cell: MapCell) -> list[str]:
    return [cell.prior, cell.gain.text(" dB"), cell.best, cell.by_dip.text(" dB"), cell.by_diffusion.text(" dB")]
