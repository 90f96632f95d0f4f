from __future__ import annotations

import pytest
import torch

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.panels import comparison, side_by_side


@pytest.mark.parametrize(
    ("task", "enlarged"),
    [("denoise:sigma=90", False), ("deblur:width=0.5,sigma=20", False), ("superres:factor=2", True)],
)
def test_side_by_side_shows_y_as_large_as_the_image(task: str, enlarged: bool) -> None:
    truth = torch.rand(2, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    y, degradation = degrade(parse_task(task), truth, range(2))
    rows = side_by_side(y, degradation, truth / 2, truth)
    expected = y.repeat_interleave(2, -2).repeat_interleave(2, -1) if enlarged else y
    assert rows.shape == (2, 3, 1, 6, 8)
    assert torch.equal(rows[:, 0], expected)
    assert torch.equal(rows[:, 1], truth / 2)
    assert torch.equal(rows[:, 2], truth)
    without_truth = side_by_side(y, degradation, truth / 2, None)
    assert torch.equal(without_truth[:, :2], rows[:, :2])
    assert torch.allclose(without_truth[:, 2], 0.5 + 2 * (expected - truth / 2))


def test_difference_is_grey_at_missing_pixels() -> None:
    truth = torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(0))
    y, degradation = degrade(parse_task("inpaint:box=4"), truth, [0])
    difference = side_by_side(y, degradation, truth / 2, None)[0, 2, 0]
    assert bool((difference[1:5, 2:6] == 0.5).all())
    assert bool((difference[0] > 0.5).all())


@pytest.mark.parametrize(("count", "panels", "columns"), [(1, 3, 3), (3, 3, 3), (12, 3, 6)])
def test_comparison_keeps_rows_together_and_clips_them(count: int, panels: int, columns: int) -> None:
    rows = torch.randn(count, panels, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    picture = comparison("fit", rows, step=5, title="Iteration 5", numbered=True)
    assert torch.equal(picture.images, rows.reshape(-1, 1, 4, 4).clamp(0, 1))
    assert picture.panels == ("degraded", "restored", "truth")
    assert (picture.columns, picture.step, picture.numbered) == (columns, 5, True)
