from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import acceleration_page
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import AccelerationBoard
from dipddpm.core.evaluation.boards import board_of
from dipddpm.core.images import load_image
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


def test_uses_are_panels_of_the_first_cells_picture(tmp_path: Path) -> None:
    run = Run(acceleration_page.shipped(ROOT / "runs" / "reference"))
    title, images = acceleration_page.uses_of(run)
    with Image.open(run.folder / "images" / "cell-0132.png") as stored:
        pixels = np.asarray(stored)
    side, count = (pixels.shape[1] - 2) // 14, len(acceleration_page.USES)  # the picture has 14 columns
    for use, column in ((0, 0), (1, 3), (2, 12), (count - 1, 13)):
        tile = pixels[2 + side : 2 * side, 2 + side * column : side * (column + 1)]  # of the second row
        step = len(tile) // 28
        assert images[count + use, 0].mul(255).round().tolist() == tile[::step, ::step].tolist()
    assert title == "inpaint:missing=0.7,sigma=5 on fashionmnist"
    acceleration_page.draw_uses(run, tmp_path / "uses.png")
    assert load_image(tmp_path / "uses.png").shape[-1] == 1200


def test_uses_of_a_run_without_their_picture_are_refused(tmp_path: Path) -> None:
    run = Run(next((ROOT / "runs" / "reference").glob("*-dip-*")))
    with pytest.raises(UserError, match="no picture of the wrong uses"):
        acceleration_page.draw_uses(run, tmp_path / "uses.png")
