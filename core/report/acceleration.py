"""The comparison of starts as a figure: quality against seconds, a line for each start. Loads no torch."""

from __future__ import annotations

from dipddpm.core.config.hybrid import is_hybrid
from dipddpm.core.evaluation.acceleration import AccelerationBoard, Reached, Variant, samples_text
from dipddpm.core.evaluation.cell import Cell
from dipddpm.core.evaluation.rows import MethodScores
from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import Block, BulletList, Heading, Table
from dipddpm.core.report.plots import Curve, LinePlot, Marker, PlotGrid

TITLES = {
    "noise": "pure noise",
    "lle": "pure noise, steps extrapolated (LLE)",
    "pinv": "A+ y",
    "classic": "kriging or bicubic",
    "dip": "DIP at its stop",
}
SHORTEST = 1e-4
"""Least seconds on the axis: A+ y takes less than a clock shows."""


def figure(board: AccelerationBoard) -> PlotGrid:
    """Return a plot for each cell, a row for each task, with the most samples that are averaged."""
    tasks = list(dict.fromkeys(cell.task for cell in board.cells.values()))
    rows = [[_plot(board, cell) for cell in board.cells.values() if cell.task == task] for task in tasks]
    columns = max(map(len, rows))
    return PlotGrid("PSNR against seconds, the start's included", [row for row in rows if len(row) == columns])


def _plot(board: AccelerationBoard, cell: Cell) -> LinePlot:
    variants, samples = board.variants(cell), max(board.samples(cell), default=1)
    curves = [
        Curve(TITLES[start], *_points(cell, start, samples, variants))
        for start in dict.fromkeys(variant.start for variant in variants)
    ]
    goal = board.goal(cell, samples)
    levels = {"the best from pure noise": goal[1].mean.value} if goal else {}
    hybrids = [Marker(name, *_point(row)) for (name, _), row in cell.rows.items() if is_hybrid(name)]
    return LinePlot(
        printable(cell.task) + "\non " + printable(cell.set),
        "seconds per image",
        "PSNR in dB",
        curves,
        levels,
        log_x=True,
        markers=hybrids,
    )


def _points(
    cell: Cell, start: str, samples: int, variants: dict[Variant, MethodScores]
) -> tuple[list[float], list[float]]:
    """Return seconds and PSNR of a start: of the samplers with the same evaluations the better one, by seconds."""
    best: dict[int, MethodScores] = {}
    for variant, row in variants.items():
        if (variant.start, variant.samples) == (start, samples):
            other = best.get(variant.nfe)
            best[variant.nfe] = row if other is None else max(row, other, key=lambda each: each.mean)
    points = sorted(_point(row) for row in best.values())
    return [x for x, _ in points], [y for _, y in points]


def _point(row: MethodScores) -> tuple[float, float]:
    return max(row.seconds_per_image, SHORTEST), row.mean.value


def cells(board: AccelerationBoard) -> list[Block]:
    """Return a section for each cell: how soon each start is as good as pure noise at its best."""
    blocks: list[Block] = []
    for cell in board.cells.values():
        blocks.append(Heading(f"{cell.name}, {cell.size}", 3))
        for samples in board.samples(cell):
            rows = [_reached(each) for each in board.reached(cell, samples)]
            blocks.append(Table([samples_text(samples), "reaches it with", "PSNR in dB", "seconds an image"], rows))
    if absences := board.absences():
        blocks += [Heading("Without a result", 3), BulletList(absences)]
    return blocks


def _reached(each: Reached) -> list[str]:
    label = each.label if each.reaches else f"never; best: {each.label}"
    return [TITLES[each.variant.start], label, f"{each.psnr:.2f}", f"{each.seconds:.3f}"]
