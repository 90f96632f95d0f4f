from __future__ import annotations

from pathlib import Path

from benchmarks import acceleration_page
from dipddpm.core.evaluation.acceleration import AccelerationBoard, board_of
from dipddpm.core.runs import Run

ROOT = Path(__file__).parents[2]


def test_page_prints_the_tables_of_the_shipped_run() -> None:
    board = board_of(Run(acceleration_page.shipped(ROOT / "runs" / "reference")).events())
    assert isinstance(board, AccelerationBoard)
    page = (ROOT / "docs" / "acceleration.md").read_text()
    for table in (
        acceleration_page.soonest(board),
        acceleration_page.gains(board),
        acceleration_page.everything(board),
    ):
        assert table in page
