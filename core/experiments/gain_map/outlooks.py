"""How often the outlook from held-out measurements alone has the sign of what DIP turns out to add."""

from __future__ import annotations

from typing import NamedTuple

from dipddpm.core.evaluation.gain_map import MapBoard, MapCell, sign
from dipddpm.core.methods.calibrated.outlook import outlook


class Hits(NamedTuple):
    """How often the outlook from held-out measurements has the sign that the gain turned out to have."""

    right: int
    wrong: list[MapCell]
    """The cells whose bounds exclude 0 and whose sign was predicted wrongly."""

    @property
    def text(self) -> str:
        """The count in words."""
        total = self.right + len(self.wrong)
        return f"{self.right} of {total} cells whose bounds exclude 0" if total else "no cell whose bounds exclude 0"


def hits(board: MapBoard) -> Hits:
    """Compare the sign of what DIP adds in each cell with its outlook, which needs no truth."""
    right, wrong = 0, []
    for cell in board.map_cells:
        expected = outlook(cell.trial) if cell.trial else None
        if expected is None or sign(cell.by_dip) == 0:
            continue
        if expected.helps == (sign(cell.by_dip) > 0):
            right += 1
        else:
            wrong.append(cell)
    return Hits(right, wrong)
