from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.means import decibels, psnr_mean

psnrs = st.lists(st.floats(-50, 120) | st.just(math.inf), min_size=1, max_size=8)


@given(psnrs)
def test_mean_psnr_is_over_the_images_that_are_not_exact(values: list[float]) -> None:
    exact, mean = psnr_mean(values)
    others = [value for value in values if value < math.inf]
    assert exact == values.count(math.inf)
    assert mean == (pytest.approx(statistics.fmean(others)) if others else math.inf)
    text = decibels(psnr_mean(values))
    assert text == ("exact" if not others else f"{mean:.2f} dB" + f", {exact} exact" * (exact > 0))


@given(psnrs, st.integers(0, 7))
def test_mean_psnr_is_larger_once_an_image_is_exact(values: list[float], index: int) -> None:
    image = index % len(values)
    better = [*values[:image], math.inf, *values[image + 1 :]]
    assert psnr_mean(better) >= psnr_mean(values)
