"""The comparison of methods for a page: a table of every cell, and quality against time. Loads no torch."""

from __future__ import annotations

from dipddpm.core.evaluation.rows import DDPM_EQUAL, DDPM_MEAN, DIP_EQUAL, DIP_MEAN, MethodScores
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.evaluation.tables import COLUMN_WIDTHS
from dipddpm.core.means import mean_without_infinite
from dipddpm.core.report.document import Block, BulletList, Heading, Table
from dipddpm.core.report.plots import Curve, LinePlot

PINV = "pinv"
_FAMILIES = {
    "dip": "DIP, one fit and means",
    DIP_MEAN: "DIP, one fit and means",
    DDPM_MEAN: "diffusion, means of samples",
    DIP_EQUAL: "DIP with equal tricks",
    DDPM_EQUAL: "diffusion with equal tricks",
    "ddnm": "DDNM+, one sample",
    "diffpir": "DiffPIR, one sample",
}


def cells(board: Scoreboard) -> list[Block]:
    """Return a section per cell with each hybrid's gain and a table of all methods, then the missing results."""
    blocks: list[Block] = []
    for cell in board.cells.values():
        figures = {_method(row): row.table_cells() for row in cell.rows.values()}
        heads = [head for head in COLUMN_WIDTHS if any(head in values for values in figures.values())]
        rows = [[method, *(values.get(head, "") for head in heads)] for method, values in figures.items()]
        blocks += [
            Heading(f"{cell.name}, {cell.size}", 3),
            BulletList(cell.verdicts()),
            Table(["method", *heads], rows),
        ]
    if absences := board.absences():
        blocks += [Heading("Without a result", 3), BulletList(absences)]
    return blocks


def _method(row: MethodScores) -> str:
    """Return a method's name; a baseline that was given a hybrid's time is named after both."""
    return f"{row.method}, in the time of {row.budget_of}" if row.budget_of else row.method


def quality_time(board: Scoreboard, task: str) -> LinePlot:
    """Return a plot of PSNR against seconds per image, over the task's sets; a line joins the forms of one method."""
    cells = [cell for cell in board.cells.values() if cell.task == task]
    families: dict[str, list[tuple[float, float]]] = {}
    levels = {}
    for key in dict.fromkeys(key for cell in cells for key in cell.rows):
        rows = [cell.rows[key] for cell in cells if key in cell.rows and cell.rows[key].psnr]
        if not rows:
            continue
        quality = mean_without_infinite([row.mean.value for row in rows])
        if key[0] == PINV:
            levels["A+ y"] = quality  # its time is too short for a logarithmic axis
            continue
        seconds = sum(row.seconds_per_image for row in rows) / len(rows)
        families.setdefault(_family(key[0]), []).append((seconds, quality))
    curves = []
    for name, points in families.items():
        x, y = zip(*sorted(points), strict=True)
        curves.append(Curve(name, x, y))
    over = f"{task}, mean of {len(cells)} sets" if len(cells) > 1 else cells[0].name
    return LinePlot(f"Quality against time: {over}", "seconds per image", "PSNR in dB", curves, levels, log_x=True)


def _family(method: str) -> str:
    """Return the name of the curve a method belongs to; a sampler's forms differ in the number at the end."""
    kind, _, steps = method.rpartition("-")
    return _FAMILIES.get(kind if steps.isdecimal() else method, method)
