from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from benchmarks.damage import damaged, text_mask
from dipddpm.core.errors import UserError


@pytest.mark.parametrize("picture", ["camera", "astronaut"])
def test_noise_is_that_of_clipped_eight_bit_values(picture: str) -> None:
    given = damaged(picture, "noise")
    assert given.pixels.dtype == np.uint8
    assert np.array_equal(given.truth, getattr(data, picture)())
    middle = (given.truth > 100) & (given.truth < 155)  # clipping is 4 standard deviations away
    assert (given.pixels[middle].astype(float) - given.truth[middle]).std() == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize(("damage", "share"), [("random", 0.5), ("text", 0.105)])
def test_missing_pixels_are_black_and_the_others_true(damage: str, share: float) -> None:
    given = damaged("astronaut", damage)
    assert given.known is not None
    assert 1 - given.known.mean() == pytest.approx(share, abs=0.01)
    assert not given.pixels[~given.known].any()
    assert np.array_equal(given.pixels[given.known], given.truth[given.known])


@pytest.mark.parametrize("damage", ["noise", "random", "text"])
def test_square_is_the_middle_of_the_same_damaged_picture(damage: str) -> None:
    whole, square = damaged("camera", damage), damaged("camera", damage, 128)
    part = np.s_[192:320, 192:320]
    assert np.array_equal(square.pixels, whole.pixels[part])
    assert np.array_equal(square.truth, whole.truth[part])
    if whole.known is not None and square.known is not None:
        assert np.array_equal(square.known, whole.known[part])


def test_text_has_holes_in_all_parts_of_large_pictures() -> None:
    mask = text_mask(1024, 1024)
    quarters = mask.reshape(4, 256, 4, 256).mean(axis=(1, 3))
    assert quarters.max() < 0.95


@pytest.mark.parametrize(("picture", "damage"), [("camera", "blur"), ("cameraman", "noise")])
def test_unknown_names_are_refused(picture: str, damage: str) -> None:
    with pytest.raises(UserError):
        damaged(picture, damage)
