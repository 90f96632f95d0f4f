from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from torch import Tensor

from dipddpm.core.methods.classical import kriging
from dipddpm.core.methods.classical.kriging import GaussianField, inpaint, krige
from dipddpm.core.metrics.image import psnr

SIDE = 20
SIGMA = 0.02
Numbers = NDArray[np.float64]


def covariances(logs: Numbers) -> Numbers:
    """Compute the covariances of all pixels in numpy: rotate the axes, scale each one, then take distances."""
    first, second, angle, deviation, share = logs
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = turn @ np.stack([rows, columns]) / np.exp([[first], [second]])
    distance = cdist(points.T, points.T)
    share = 1 / (1 + math.exp(-share))
    smooth = (1 + math.sqrt(3) * distance) * np.exp(-math.sqrt(3) * distance)
    covariance: Numbers = math.exp(2 * deviation) * (share * np.exp(-distance) + (1 - share) * smooth)
    return covariance


def drawn(logs: Numbers, count: int, seed: int = 1) -> Tensor:
    """Draw Gaussian fields (count, 1, SIDE, SIDE) with these covariances and mean 0.5."""
    factor = np.linalg.cholesky(covariances(logs) + 1e-9 * np.eye(SIDE * SIDE))
    normal = np.random.default_rng(seed).standard_normal((SIDE * SIDE, count))
    return torch.from_numpy(0.5 + (factor @ normal).T).view(count, 1, SIDE, SIDE)


def measured(truth: Tensor, share: float = 0.35, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Return noisy measurements y and their mask; images have different numbers of measured pixels."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(truth.shape, generator=generator, dtype=truth.dtype) < share).to(truth)
    return (truth + SIGMA * torch.randn(truth.shape, generator=generator, dtype=truth.dtype)) * mask, mask


def variance(y: Tensor) -> Tensor:
    return y.new_full((len(y),), SIGMA**2)


TURNED = np.array([math.log(8.0), math.log(2.0), 0.6, math.log(0.2), 1.0])


def test_gaussian_field_mean_solves_kriging_system() -> None:
    """Solve for each pixel's kriging weights, which sum to 1, with a Lagrange multiplier."""
    y, mask = measured(drawn(TURNED, 2))
    field = GaussianField(y.flatten(0, 1), mask.flatten(0, 1) != 0, variance(y))
    mean = field.mean()
    for plane in range(2):
        known = np.flatnonzero(mask[plane, 0].numpy())
        all_pairs = covariances(field.logs[plane].numpy())
        n = len(known)
        system = np.ones((n + 1, n + 1))
        system[:n, :n] = all_pairs[np.ix_(known, known)] + SIGMA**2 * np.eye(n)
        system[n, n] = 0
        right = np.vstack([all_pairs[known], np.ones(SIDE * SIDE)])
        weights = np.linalg.solve(system, right)[:n]
        np.testing.assert_allclose(weights.sum(0), 1)
        expected = weights.T @ y[plane, 0].numpy().ravel()[known]
        np.testing.assert_allclose(mean[plane].numpy().ravel(), expected, atol=1e-6)


def test_gaussian_field_fit_is_local_maximum_of_likelihood() -> None:
    y, mask = measured(drawn(TURNED, 1))
    field = GaussianField(y.flatten(0, 1), mask.flatten(0, 1) != 0, variance(y))
    known = np.flatnonzero(mask[0, 0].numpy())
    values = y[0, 0].numpy().ravel()[known]

    def likelihood(logs: Numbers) -> float:
        covariance = covariances(logs)[np.ix_(known, known)] + SIGMA**2 * np.eye(len(known))
        inverse = np.linalg.inv(covariance)
        level = (inverse @ values).sum() / inverse.sum()
        expected = [kriging.LENGTH, kriging.LENGTH, kriging.DEVIATION]
        prior = (logs[[0, 1, 3]] - np.log(expected)) / [kriging.LENGTHS, kriging.LENGTHS, kriging.DEVIATIONS]
        log_density = multivariate_normal.logpdf(values, np.full(len(known), level), covariance)
        return float(log_density) - 0.5 * float((prior**2).sum())

    best = field.logs[0].numpy()
    for index, step in ((0, 0.6), (1, 0.4), (2, 0.4), (3, 0.5), (4, 3.0)):
        for sign in (-1, 1):
            moved = best.copy()
            moved[index] += sign * step
            assert likelihood(moved) < likelihood(best)


def test_krige_nearly_reaches_error_of_true_covariances() -> None:
    """The error is close to the smallest possible one, that of the conditional mean with the true covariances."""
    truth = drawn(TURNED, 24)
    y, mask = measured(truth)
    ours = ((krige(y, mask, variance(y)) - truth) * (1 - mask)).square().sum().item()
    whole, least = covariances(TURNED), 0.0
    for image in range(len(truth)):
        known = np.flatnonzero(mask[image, 0].numpy())
        gain = whole[:, known] @ np.linalg.inv(whole[np.ix_(known, known)] + SIGMA**2 * np.eye(len(known)))
        error = 0.5 + gain @ (y[image, 0].numpy().ravel()[known] - 0.5) - truth[image, 0].numpy().ravel()
        least += float((error**2 * (1 - mask[image, 0].numpy().ravel())).sum())
    assert least < ours < 1.08 * least


def test_krige_follows_slanted_edges() -> None:
    """Kriging fits the direction of slanted stripes; biharmonic inpainting has no direction."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    stripes = (0.5 + 0.3 * torch.sin((rows + 2 * columns) / 2.5)).expand(1, 1, SIDE, SIDE)
    y, mask = measured(stripes)
    ours, theirs = psnr(krige(y, mask, variance(y)), stripes), psnr(inpaint(y, mask), stripes)
    assert (ours > theirs + 4).all()


def test_krige_treats_planes_independently() -> None:
    y, mask = measured(drawn(TURNED, 6))
    together = krige(y, mask, variance(y))
    alone = torch.cat([krige(y[[i]], mask[[i]], variance(y[[i]])) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    as_channels = krige(y.view(2, 3, SIDE, SIDE), mask.view(2, 3, SIDE, SIDE), variance(y)[:2])
    torch.testing.assert_close(as_channels.view(y.shape), together, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_krige_handles_constant_single_and_no_pixels(dtype: torch.dtype) -> None:
    """The four images have a third of the rows measured, a single pixel, no pixel, and all pixels."""
    y = torch.full((4, 1, 8, 8), 0.4, dtype=dtype)
    mask = torch.zeros_like(y)
    mask[0, :, ::3], mask[1, :, 4, 4], mask[3] = 1, 1, 1
    restored = krige(y * mask, mask, y.new_zeros(4))
    assert restored.isfinite().all()
    torch.testing.assert_close(restored[[0, 1, 3]], y[[0, 1, 3]], rtol=0, atol=1e-3)


def test_krige_preserves_noise_free_measurements() -> None:
    y, mask = measured(drawn(TURNED, 2))
    restored = krige(y, mask, y.new_tensor([0.0, SIGMA**2]))
    unchanged = (restored == y)[mask != 0].view(-1)
    first = int(mask[0].sum())
    assert unchanged[:first].all()
    assert not unchanged[first:].any()


def test_krige_falls_back_to_biharmonic_for_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    y, mask = measured(drawn(TURNED, 1).float())
    monkeypatch.setattr(kriging, "MAX_PIXELS", 50)
    assert torch.equal(krige(y, mask, variance(y)), inpaint(y, mask))


def test_cholesky_raises_diagonal_of_indefinite_matrix_alone() -> None:
    """The matrix that rounding has made indefinite gets a factor; the other's is numpy's."""
    ones = torch.ones(5, 5) - 1e-6 * torch.eye(5)
    definite = torch.eye(5) + 0.1
    factors = kriging.cholesky(torch.stack([ones, definite]))
    assert factors.isfinite().all()
    torch.testing.assert_close(factors[0] @ factors[0].T, ones, atol=1e-2, rtol=0)
    np.testing.assert_allclose(factors[1].numpy(), np.linalg.cholesky(definite.numpy()), atol=1e-6)


@pytest.mark.parametrize("shade", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("left", [1, 2, 60])
def test_krige_fills_flat_images_with_their_shade(shade: float, left: int) -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask.view(-1)[:left] = 1
    filled = krige(torch.full((1, 1, 8, 8), shade) * mask, mask, torch.zeros(1))
    torch.testing.assert_close(filled, torch.full_like(filled, shade), atol=1e-3, rtol=0)
