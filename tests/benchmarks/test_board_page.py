from __future__ import annotations

from pathlib import Path

from benchmarks import board_page
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.runs import Run

ROOT = Path(__file__).parents[2]


def test_pages_print_the_shipped_board() -> None:
    """README has the three gains, and the page has every cell's, as the run that ships gives them."""
    board = Scoreboard(Run(board_page.shipped(ROOT / "runs" / "reference")).events())
    page, readme = (ROOT / "docs" / "head-to-head.md").read_text(), (ROOT / "README.md").read_text()
    assert board_page.gains(board) in page
    assert board_page.cells(board) in page
    assert board_page.gains(board) in readme
