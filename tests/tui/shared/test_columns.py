"""The cells of the run list."""

from __future__ import annotations

import math

import pytest

from dipddpm.core.runs import RunState
from dipddpm.tui.shared.columns import COLUMNS, NARROW, TIGHT, fit
from dipddpm.tui.shared.runlist import RunRow

GAP = 1
"""The cell between a column and the next one."""


@pytest.mark.parametrize(
    ("psnr", "exact", "shown"),
    [
        (16.77, 0, "16.77"),
        (16.77, 1, "16.77*"),
        (106.77, 512, "106.77*"),
        (-16.77, 1, "-16.77*"),
        (math.inf, 3, "exact"),
        (math.nan, 1, "nan*"),
        (None, 0, ""),
    ],
)
def test_psnr_fits_its_cell_and_marks_means_without_exact_images(psnr: float | None, exact: int, shown: str) -> None:
    row = RunRow(id="a", state=RunState.finished, psnr=psnr, exact=exact)
    column = next(column for column in COLUMNS if column.key == "psnr")
    assert fit(column.text(row), column.width - GAP).strip() == shown
    narrow = shown if shown == "exact" else f"{shown} dB" if shown else "done"
    for columns in (NARROW, TIGHT):
        column = next(column for column in columns if column.key == "state")
        assert fit(column.text(row), column.width - GAP).strip() == narrow
