"""A head-to-head on a page: what comes of it, and every cell with all its methods. Loads no torch."""

from __future__ import annotations

from dipddpm.core.evaluation.scoreboard import COLUMN_WIDTHS, MethodScores, Scoreboard
from dipddpm.core.report.document import Block, BulletList, Heading, Table


def cells(board: Scoreboard) -> list[Block]:
    """A section a cell: each hybrid's gain, and a table of all methods; then what has no result, and why."""
    blocks: list[Block] = []
    for cell in board.cells.values():
        figures = {_method(row): row.table_cells() for row in cell.rows.values()}
        heads = [head for head in COLUMN_WIDTHS if any(head in values for values in figures.values())]
        rows = [[method, *(values.get(head, "") for head in heads)] for method, values in figures.items()]
        blocks += [Heading(cell.name, 3), BulletList(cell.verdicts()), Table(["method", *heads], rows)]
    if absences := board.absences():
        blocks += [Heading("Without a result", 3), BulletList(absences)]
    return blocks


def _method(row: MethodScores) -> str:
    """A control that was given a hybrid's time is named after both."""
    return f"{row.method}, as long as {row.budget_of}" if row.budget_of else row.method
