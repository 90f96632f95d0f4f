"""Tiles cover a picture and blend without a seam; parts of a case measure what the whole case measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import convolve

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import BlockMean, CircularBlur, Degradation, GaussianNoise, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import gaussian_kernel
from dipddpm.core.experiments.image.parts import blur_radius, cut, largest_hole, pad_for_blur, stack
from dipddpm.core.experiments.image.tiles import Canvas, Window, blending_weights, divide

SIZES = st.integers(1, 90)


@given(SIZES, SIZES, st.integers(2, 50), st.integers(0, 40))
def test_tiles_cover_every_pixel_with_windows_of_one_shape(height: int, width: int, side: int, overlap: int) -> None:
    windows = divide((height, width), side, overlap)
    covered = np.zeros((height, width), int)
    for window in windows:
        assert (window.height, window.width) == (windows[0].height, windows[0].width)
        assert 1 <= window.height <= side or window.height == height <= side
        assert window.top >= 0 and window.left >= 0
        covered[window.top : window.top + window.height, window.left : window.left + window.width] += 1
    assert covered.shape == (height, width) and covered.min() >= 1


@given(st.integers(20, 90), st.integers(10, 40), st.integers(2, 12), st.integers(0, 3))
def test_blended_tiles_of_one_picture_give_it_back(length: int, side: int, overlap: int, margin: int) -> None:
    overlap += 2 * margin
    if overlap >= side // 2:
        return
    picture = torch.rand(2, 3, length, length + 7, generator=torch.Generator().manual_seed(length))
    canvas = Canvas((2, 3, length, length + 7))
    for window in divide((length, length + 7), side, overlap):
        weights = blending_weights(window, (length, length + 7), overlap, margin)
        assert weights.min() >= 0
        for rows in (slice(0, 1), slice(1, 2)):
            canvas.add(window, window.of(picture[rows]), weights, rows)
    assert float((canvas.images - picture).abs().max()) < 1e-5


def test_a_step_between_two_tiles_is_spread_over_their_overlap() -> None:
    size, overlap = (8, 100), 16
    canvas = Canvas((1, 1, *size))
    for index, window in enumerate(divide(size, 58, overlap)):
        flat = torch.full((1, 1, window.height, window.width), float(index))
        canvas.add(window, flat, blending_weights(window, size, overlap))
    steps = canvas.images[0, 0].diff(dim=-1)
    assert float(steps.min()) >= -1e-6 and float(steps.max()) < 2.5 / overlap  # a cosine's is pi / 2 / overlap


OPERATORS: list[Operator] = [
    Identity(),
    Mask((torch.arange(40 * 50).view(1, 1, 40, 50) % 3 > 0).float()),
    BlockMean(2, (80, 100)),
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: type(operator).__name__)
def test_a_part_of_a_case_measures_the_same_part_of_the_picture(operator: Operator) -> None:
    shape = (1, 3, 80, 100) if isinstance(operator, BlockMean) else (1, 3, 40, 50)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    case = Case(operator.A(x), Degradation(operator, GaussianNoise(0.1)), shape)
    window = Window(10, 20, 16, 12)
    part = cut(case, window, slice(0, 1), seed=3)
    inner = window.scaled(shape[2] // 40).of(x)
    assert part.shape == inner.shape and part.seed == 3
    assert torch.allclose(part.degradation.operator.A(inner), part.y, atol=1e-6)


def test_a_part_of_a_blurred_picture_is_blurred_by_the_same_kernel_away_from_its_borders() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 70))
    kernel = gaussian_kernel(1.5)
    y = convolve(x, kernel.numpy(), mode="mirror")  # a camera doesn't wrap around
    operator = CircularBlur(kernel, (60, 70))
    case = Case(torch.tensor(y)[None, None].float(), Degradation(operator, GaussianNoise(0.0)), (1, 1, 60, 70))
    radius = blur_radius(operator)
    assert 4 <= radius <= 6
    window = Window(5, 9, 40, 44)
    part = cut(case, window, slice(0, 1), seed=0)
    blurred = part.degradation.operator.A(window.of(torch.tensor(x)[None, None].float()))
    inner = slice(radius, -radius)
    difference = (blurred - part.y)[..., inner, inner]
    assert float(difference.abs().max()) < 5e-3


def test_padding_mirrors_the_borders_of_a_blurred_picture_only() -> None:
    y = torch.rand(1, 1, 30, 31, generator=torch.Generator().manual_seed(0))
    blurred = Case(y, Degradation(CircularBlur(gaussian_kernel(1.0), (30, 31)), GaussianNoise(0.0)), (1, 1, 30, 31))
    padded, pad = pad_for_blur(blurred)
    assert pad == blur_radius(blurred.degradation.operator) and padded.shape == (1, 1, 30 + 2 * pad, 31 + 2 * pad)
    assert np.array_equal(padded.y[0, 0].numpy(), np.pad(y[0, 0].numpy(), pad, mode="reflect"))
    plain = Case(y, Degradation(Identity(), GaussianNoise(0.0)), (1, 1, 30, 31))
    assert pad_for_blur(plain) == (plain, 0)


def test_the_largest_hole_is_found() -> None:
    mask = torch.ones(1, 1, 50, 60)
    mask[..., 10:24, 20:50] = 0
    mask[..., 40, :] = 0
    assert 12 <= largest_hole(Mask(mask)) <= 16
    assert largest_hole(Identity()) == 0


def test_stacked_parts_keep_their_masks() -> None:
    case = Case(torch.rand(1, 1, 40, 50), Degradation(OPERATORS[1], GaussianNoise(0.0)), (1, 1, 40, 50))
    parts = [cut(case, Window(top, 0, 8, 8), slice(0, 1), seed=0) for top in (0, 7, 30)]
    joined = stack(parts)
    assert joined.shape == (3, 1, 8, 8)
    assert torch.equal(
        joined.degradation.operator.measured(joined.y)[1], parts[1].degradation.operator.measured(parts[1].y)[0]
    )


def test_tasks_of_given_pictures_have_unknown_noise() -> None:
    assert parse_task("denoise", given=True).noise == "unknown"
