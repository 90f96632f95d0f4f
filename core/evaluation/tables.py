"""The tables of a scoreboard as text. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.core.config import HYBRIDS
from dipddpm.core.evaluation.cell import PLAIN, YARDSTICKS, Cell
from dipddpm.core.evaluation.rows import method_label
from dipddpm.core.io.sanitize import wrapped
from dipddpm.core.means import decibels

COLUMN_WIDTHS = {"PSNR": 7, "exact": 6, "SSIM": 6, "class": 6, "NFE": 6, "iter": 6, "runs": 5, "seconds": 8}
"""The widths of the columns, in characters, in their order."""
_COLUMN_PRIORITY = ("PSNR", "exact", "seconds", "SSIM", "class", "NFE", "iter", "runs")
"""The columns by priority; in a narrow table the last ones are left out."""


def blocks(cells: Sequence[Cell], width: int) -> list[list[str]]:
    """Return the lines of each cell: its gains, and the table of its rows with the columns that fit into `width`."""
    keys = list(dict.fromkeys(key for cell in cells for key in (*cell.rows, *((m, "") for m in cell.missing))))
    label = max((len(method_label(*key)) for key in keys), default=0) + 2
    has_exact = any(row.mean.exact for cell in cells for row in cell.rows.values())
    heads = [
        head
        for head in COLUMN_WIDTHS
        if (has_exact or head != "exact")
        and label + sum(COLUMN_WIDTHS[h] for h in _COLUMN_PRIORITY[: _COLUMN_PRIORITY.index(head) + 1]) <= width
    ]
    return [_block(cell, keys, label, heads, width) for cell in cells]


def summary(cells: Sequence[Cell], hybrid: str) -> list[str]:
    """Return a table of a hybrid's PSNR and that of each yardstick, cell by cell; empty if no cell has a gain."""
    tasks, sets = ({getattr(cell, key) for cell in cells} for key in ("task", "set"))
    rows: list[tuple[str, ...]] = [("", hybrid, "plain", "equal", "best", "best row", "gain over it [95% bounds]")]
    for cell in cells:
        best = [cell.best(hybrid, yardstick) for yardstick in YARDSTICKS]
        gain = cell.gain(hybrid, "all")
        if gain is None or best[0] is None:
            continue
        label = cell.set if len(tasks) == 1 else cell.task if len(sets) == 1 else cell.name
        numbers = [decibels(row.mean, "") if row else "" for row in reversed(best)]
        rows.append((label, decibels(cell.rows[hybrid, ""].mean, ""), *numbers, best[0].method, str(gain)))
    if len(rows) == 1:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    heading = "PSNR in dB, and that of the best plain baseline, the best with equal tricks, and the best of all rows:"
    return [*wrapped(heading, 79), *(_aligned(row, widths) for row in rows)]


def _block(cell: Cell, keys: Sequence[tuple[str, str]], label: int, heads: Sequence[str], width: int) -> list[str]:
    lines = wrapped(f"{cell.name} ({cell.size})", width, "  ")
    lines += [line for text in cell.verdicts() for line in wrapped(f"  {text}", width, "    ")]
    lines.append("  method".ljust(label) + "".join(head.rjust(COLUMN_WIDTHS[head]) for head in heads))
    for key in keys:
        row = cell.rows.get(key)
        if row is None and key[0] not in {*HYBRIDS, *PLAIN, *cell.missing}:
            continue  # a control for other tasks
        failed = key[0] in cell.missing and cell.missing[key[0]].failed
        values = row.table_cells() if row else {"PSNR": "failed" if failed else "n/a"}
        columns = "".join(values.get(head, "").rjust(COLUMN_WIDTHS[head]) for head in heads)
        lines.append(f"  {method_label(*key)}".ljust(label) + columns)
    lines += [line for text in _knowledge(cell) for line in wrapped(text, width, "    ")]
    return [line.rstrip() for line in lines]


def _knowledge(cell: Cell) -> list[str]:
    """List what the methods know besides y, the operator and the kind of noise; empty for an older log."""
    methods: dict[tuple[str, ...], list[str]] = {}
    for row in cell.rows.values():
        if row.method not in methods.setdefault(row.knows, []):
            methods[row.knows].append(row.method)
    if not any(methods):
        return []
    return [f"  knows {', '.join(knows) or 'no more'}: {', '.join(names)}" for knows, names in methods.items()]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    label, *numbers, gain = (text.rjust(width) for text, width in zip(row, widths, strict=True))
    return f"  {label.strip().ljust(widths[0])}  {'  '.join(numbers)}  {gain.strip()}"
