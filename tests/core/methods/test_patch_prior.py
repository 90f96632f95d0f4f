"""Tests of the method patch-prior, with a denoiser that is exact for independent Gaussian pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.patches import PatchDenoiser
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import BlockMean, CircularBlur, Degradation, GaussianNoise, Identity, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.operators import Mask, Operator
from dipddpm.core.methods.patch_prior import PatchPriorRestorer, despeckled, fill_holes

SCHEDULE = Schedule.from_config(DdpmConfig(schedule="cosine"))
VARIANCE = 0.04
"""The variance of the pixels, whose mean is 0.5, on the scale [0, 1]."""


def wiener(xt: Tensor, t: Tensor) -> Tensor:
    """Return E[x0 | xt] in model space, where pixels have mean 0 and variance 4 VARIANCE."""
    a = SCHEDULE.alpha_bar[t].sqrt().view(-1, 1, 1, 1)
    noise = SCHEDULE.noise[t].view(-1, 1, 1, 1) / a**2
    return (xt / a * 4 * VARIANCE / (4 * VARIANCE + noise)).float()


class Prior:
    """A model of patches whose denoiser is `wiener`."""

    def denoiser(self) -> PatchDenoiser:
        return PatchDenoiser(wiener, SCHEDULE, objective="x0", shape=(3, 8, 8))


def restorer(y: Tensor, operator: Operator, noise: Any, shape: tuple[int, ...], **options: int) -> PatchPriorRestorer:
    n, c, h, w = shape
    return PatchPriorRestorer(Case(y, Degradation(operator, noise), (n, c, h, w)), Prior(), **options)  # type: ignore[arg-type]


def finish(work: PatchPriorRestorer) -> Tensor:
    steps = [item.step for item in work]  # type: ignore[union-attr]
    assert steps == list(range(1, len(work) + 1))
    return work.images


@pytest.mark.parametrize("sigma", [10, 40])
def test_denoising_gives_the_posterior_mean_and_deviation(sigma: float) -> None:
    rng = np.random.default_rng(0)
    x = torch.tensor(0.5 + VARIANCE**0.5 * rng.standard_normal((2, 3, 14, 11)), dtype=torch.float32)
    level = sigma / 255
    y = x + level * torch.tensor(rng.standard_normal(x.shape), dtype=torch.float32)
    work = restorer(y, Identity(), GaussianNoise(level), x.shape, views=3)
    images, gain = finish(work), VARIANCE / (VARIANCE + level**2)
    assert torch.allclose(images, 0.5 + gain * (y - 0.5), atol=4e-3)
    assert work.spread is not None
    assert torch.allclose(work.spread, torch.full_like(x, level * gain**0.5), rtol=0.03)
    assert work.nfe == 5


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 9), (1, 2, 7, 5), (1, 4, 17, 3)])
@pytest.mark.parametrize("task", ["denoise", "inpaint", "impulses"])
def test_any_shape_gives_finite_images(shape: tuple[int, int, int, int], task: str) -> None:
    y = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    mask = (torch.rand(shape[0], 1, *shape[2:], generator=torch.Generator().manual_seed(2)) > 0.4).float()
    if task == "denoise":
        work = restorer(y, Identity(), GaussianNoise(0.1), shape, views=2)
    elif task == "inpaint":
        work = restorer(y * mask, Mask(mask), GaussianNoise(0.0), shape, rounds=3)
    else:
        work = restorer(y.where(mask > 0, 1), Identity(), SaltAndPepper(0.4), shape, rounds=3)
    images = finish(work)
    assert images.shape == shape
    assert bool(images.isfinite().all())


def test_measurements_without_noise_are_reproduced() -> None:
    x = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(3))
    mask = (torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    for operator in (Mask(mask), BlockMean(2, (12, 10)), BlockMean(3, (12, 10))):
        images = finish(restorer(operator.A(x), operator, GaussianNoise(0.0), x.shape, rounds=4))
        assert torch.allclose(operator.A(images), operator.A(x), atol=0.02)


def test_blur_is_undone_better_than_not_at_all() -> None:
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16
    x = 0.5 + 0.2 * torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(5))
    operator = CircularBlur(kernel, (16, 16))
    y = operator.A(x) + 0.005 * torch.randn(x.shape, generator=torch.Generator().manual_seed(6))
    images = finish(restorer(y, operator, GaussianNoise(0.005), x.shape))
    assert (images - x).square().mean() < 0.5 * (y - x).square().mean()


@pytest.mark.parametrize("denoises", [True, False])
def test_resumes_exactly_after_every_step(denoises: bool) -> None:
    y = torch.rand(2, 1, 9, 13, generator=torch.Generator().manual_seed(7))
    mask = (y > 0.3).float()[:, :1]

    def make() -> PatchPriorRestorer:
        if denoises:
            return restorer(y, Identity(), GaussianNoise(0.1), y.shape, views=3)
        return restorer(y * mask, Mask(mask), GaussianNoise(0.05), y.shape, rounds=4)

    whole = make()
    expected = finish(whole)
    for stop in range(1, len(whole)):
        first, second = make(), make()
        for item in first:
            if item.step == stop:  # type: ignore[union-attr]
                break
        second.load_state_dict(first.state_dict())
        for _ in second:
            pass
        assert torch.equal(second.images, expected)
        assert second.nfe == whole.nfe
        assert (second.spread is None) == (whole.spread is None)


def test_holes_are_filled_from_the_nearest_means() -> None:
    y = torch.tensor([[1.0, 2, 5, 5], [3, 9, 5, 5], [0, 0, 7, 7], [0, 0, 7, 7]]).view(1, 1, 4, 4)
    measured = torch.ones(1, 1, 4, 4)
    measured[..., 1, 1] = measured[..., 2:, :2] = 0
    filled = fill_holes(y * measured, measured)
    assert torch.equal(filled * measured, y * measured)
    assert 2 <= filled[0, 0, 1, 1] <= 5
    assert 2 <= filled[0, 0, 3, 0] <= 7
    constant = fill_holes(torch.full_like(y, 0.4) * measured, measured)
    assert torch.allclose(constant, torch.full_like(y, 0.4))


def test_median_of_neighbours_that_are_no_impulses() -> None:
    rng = np.random.default_rng(0)
    y = rng.uniform(0.2, 0.8, (7, 8))
    y[rng.random(y.shape) < 0.5] = 1
    y[:2, :2] = 0
    expected = np.empty_like(y)
    for row, column in np.ndindex(y.shape):
        window = y[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].ravel()
        inner = window[(window > 0) & (window < 1)]
        values = np.sort(inner if len(inner) >= 3 else window)
        expected[row, column] = values[(len(values) - 1) // 2]  # torch takes the lower of two middle values
    assert despeckled(torch.tensor(y).view(1, 1, 7, 8)).numpy()[0, 0] == pytest.approx(expected)


def test_impulses_are_found_and_replaced() -> None:
    rng = np.random.default_rng(1)
    x = np.linspace(0.3, 0.7, 20)[None] * np.ones((20, 1))
    y = np.where(rng.random(x.shape) < 0.3, rng.integers(0, 2, x.shape), x)
    shape = (1, 1, 20, 20)
    images = finish(
        restorer(torch.tensor(y, dtype=torch.float32).view(shape), Identity(), SaltAndPepper(0.3), shape, rounds=4)
    )
    assert np.abs(images.numpy()[0, 0] - x).max() < 0.15
