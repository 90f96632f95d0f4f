"""Quality against time: what a head-to-head comes to on one task, as a drawing. Loads no torch."""

from __future__ import annotations

from dipddpm.core.evaluation.scoreboard import DDPM_MEAN, DIP_MEAN, Scoreboard
from dipddpm.core.report.plots import Curve, LinePlot

PINV = "pinv"
_FAMILIES = {
    "dip": "DIP, one fit and means",
    DIP_MEAN: "DIP, one fit and means",
    DDPM_MEAN: "diffusion, means of samples",
    "ddnm": "DDNM+, one sample",
    "diffpir": "DiffPIR, one sample",
}


def quality_time(board: Scoreboard, task: str) -> LinePlot:
    """PSNR against seconds an image, on the mean of the task's sets; forms of one method are joined."""
    cells = [cell for cell in board.cells.values() if cell.task == task]
    families: dict[str, list[tuple[float, float]]] = {}
    levels = {}
    for key in dict.fromkeys(key for cell in cells for key in cell.rows):
        rows = [cell.rows[key] for cell in cells if key in cell.rows and cell.rows[key].psnr]
        if not rows:
            continue
        quality = sum(row.mean for row in rows) / len(rows)
        if key[0] == PINV:
            levels["A+ y"] = quality  # takes no time that a logarithm could show
            continue
        seconds = sum(row.seconds / len(row.psnr) for row in rows) / len(rows)
        families.setdefault(_family(key[0]), []).append((seconds, quality))
    curves = []
    for name, points in families.items():
        x, y = zip(*sorted(points), strict=True)
        curves.append(Curve(name, x, y))
    over = f"{task}, mean of {len(cells)} sets" if len(cells) > 1 else cells[0].name
    return LinePlot(f"Quality against time: {over}", "seconds an image", "PSNR in dB", curves, levels, log_x=True)


def _family(method: str) -> str:
    """What is joined under one name: a sampler's forms differ by the number at their end."""
    kind, _, steps = method.rpartition("-")
    return _FAMILIES.get(kind if steps.isdecimal() else method, method)
