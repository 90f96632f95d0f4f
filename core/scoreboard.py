"""A head-to-head on a page: what comes of it, and every cell with all its methods. Loads no torch."""

from __future__ import annotations

from core.page import Block, Heading, Points, Table
from core.scores import HEADS, Row, Scoreboard


def cells(board: Scoreboard) -> list[Block]:
    """A section a cell: each hybrid's gain, and a table of all methods; then what has no result, and why."""
    found: list[Block] = []
    for cell in board.cells.values():
        figures = {_method(row): row.figures() for row in cell.rows.values()}
        heads = [head for head in HEADS if any(head in told for told in figures.values())]
        rows = [[method, *(told.get(head, "") for head in heads)] for method, told in figures.items()]
        found += [Heading(cell.name, 3), Points(cell.verdicts()), Table(["method", *heads], rows)]
    if absences := board.absences():
        found += [Heading("Without a result", 3), Points(absences)]
    return found


def _method(row: Row) -> str:
    """A control that was given a hybrid's time is named after both."""
    return f"{row.method}, as long as {row.budget_of}" if row.budget_of else row.method
