"""NL-Bayes agrees with a naive loop over patches, and is as good as BM3D on natural pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.data import chelsea
from skimage.metrics import peak_signal_noise_ratio

from dipddpm.core.methods.classical import nl_bayes as module
from dipddpm.core.methods.classical.nl_bayes import Options, nl_bayes


def test_second_step_matches_loop_over_patches() -> None:
    rng = np.random.default_rng(0)
    guide, noise = rng.random((2, 12, 14)), rng.standard_normal((2, 12, 14))
    noisy, side, radius, count = guide + 0.2 * noise, 3, 2, 8
    total, weight = np.zeros_like(noisy), np.zeros(noisy.shape[1:])
    for top in range(0, 10):
        for left in range(0, 12):
            moved = [
                (((patch(guide, y, x) - patch(guide, top, left)) ** 2).sum(), y, x)
                for y in range(max(0, top - radius), min(9, top + radius) + 1)
                for x in range(max(0, left - radius), min(11, left + radius) + 1)
            ]
            chosen = [(y, x) for _, y, x in sorted(moved)[:count]]
            family = np.stack([patch(guide, y, x) for y, x in chosen])
            covariance = np.cov(family.T)
            gain = covariance @ np.linalg.inv(covariance + 0.04 * np.eye(len(covariance)))
            for y, x in chosen:
                denoised = family.mean(0) + gain @ (patch(noisy, y, x) - family.mean(0))
                total[:, y : y + side, x : x + side] += denoised.reshape(2, side, side)
                weight[y : y + side, x : x + side] += 1
    a, b = (torch.from_numpy(array).float() for array in (noisy, guide))
    denoised = module._step(a, b, 0.2, Options(side, 1, count, radius, 1.0), module._wiener)
    np.testing.assert_allclose(denoised.numpy(), total / weight, atol=1e-4)


def patch(picture: NDArray[np.float64], top: int, left: int) -> NDArray[np.float64]:
    return picture[:, top : top + 3, left : left + 3].reshape(-1)


def test_nl_bayes_is_nearly_as_good_as_bm3d() -> None:
    bm3d = pytest.importorskip("bm3d")
    picture = chelsea()[100:164, 100:164] / 255
    noisy = picture + 10 / 255 * np.random.default_rng(0).standard_normal(picture.shape)
    ours = np.moveaxis(nl_bayes(np.moveaxis(noisy, -1, 0), 10 / 255), 0, -1)
    a, b = (peak_signal_noise_ratio(picture, each, data_range=1) for each in (ours, bm3d.bm3d_rgb(noisy, 10 / 255)))
    assert a > b - 0.2


@pytest.mark.parametrize("shape", [(1, 16, 16), (4, 16, 45), (3, 31, 17)])
def test_nl_bayes_denoises_flat_pictures_of_every_shape(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).standard_normal(shape)
    for sigma in (0.02, 0.2):
        error = nl_bayes(0.5 + sigma * noise, sigma) - 0.5
        assert error.shape == shape
        assert error.std() < 0.4 * sigma
