from __future__ import annotations

import math

import pytest
import torch

from dipddpm.core.errors import UserError
from dipddpm.core.metrics.image import psnr, ssim
from dipddpm.core.metrics.usable import count_unusable, refuse_unusable, unusable_text

TRUTH = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_image_that_is_not_finite_is_counted_and_has_no_score(value: float) -> None:
    """The scores of the other images don't change."""
    images = TRUTH * 0.9
    expected = psnr(images, TRUTH), ssim(images, TRUTH)
    images[2, 0, 3, 4] = value
    assert unusable_text(images, "samples") == "1 of 4 samples are not finite"
    others = [0, 1, 3]
    for scores, before in zip((psnr(images, TRUTH), ssim(images, TRUTH)), expected, strict=True):
        assert scores.isnan().tolist() == [False, False, True, False]
        assert torch.equal(scores[others], before[others])


def test_huge_values_are_counted_and_usual_ones_are_not() -> None:
    images = TRUTH.clone()
    assert (count_unusable(images * 100), unusable_text(images, "samples")) == (0, "")
    images[0, 0, 0, 0], images[3, 0, 1, 1] = -1e30, 3e5
    assert unusable_text(images, "samples") == "2 of 4 samples have values up to 1e+30, but a pixel's is at most 1"
    with pytest.raises(UserError, match=r"2 of 4 samples .* Do this."):
        refuse_unusable(images, "samples", "Do this.")
    refuse_unusable(TRUTH, "samples", "Do this.")
