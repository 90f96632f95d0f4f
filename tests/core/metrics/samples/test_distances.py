from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dipddpm.core.errors import UserError
from dipddpm.core.metrics.samples import distances
from dipddpm.core.metrics.samples.distances import frechet_distance, kernel_distance


def features(seed: int, count: int = 60, dimensions: int = 5) -> Tensor:
    """Return correlated features with a random mean."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    mean = torch.randn(dimensions, generator=generator, dtype=torch.float64)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64) @ mix + mean


def white(seed: int, count: int, dimensions: int) -> Tensor:
    """Return samples whose mean is exactly 0 and whose unbiased covariance is exactly the identity."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dimensions, generator=generator, dtype=torch.float64)
    q: Tensor = torch.linalg.qr(x - x.mean(0)).Q
    return q * math.sqrt(count - 1)


seeds = st.integers(0, 2**32)


@given(seeds, st.lists(st.floats(0, 3), min_size=4, max_size=4), st.lists(st.floats(0, 3), min_size=4, max_size=4))
def test_frechet_distance_matches_closed_form_for_common_axes(seed: int, a: list[float], b: list[float]) -> None:
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    s, t = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    expected = shift.square().sum() + (s - t).square().sum()
    distance = frechet_distance(white(seed, 20, 4) * s, white(seed + 1, 30, 4) * t + shift)
    assert distance == pytest.approx(expected.item(), abs=1e-6)


def test_frechet_distance_matches_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    x, y = features(1).numpy(), features(2, 80).numpy()
    root = linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = means + np.trace(np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * root.real)
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-10)


class Flat(nn.Module):
    """A feature extractor for torchmetrics that returns the pixels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double()


@pytest.mark.slow  # importing torchmetrics takes seconds
def test_frechet_distance_matches_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    x, y = features(3).view(-1, 1, 1, 5), features(4, 75).view(-1, 1, 1, 5)
    theirs = fid.FrechetInceptionDistance(feature=Flat(), input_img_size=(1, 1, 5))
    theirs.update(x, real=True)
    theirs.update(y, real=False)
    assert frechet_distance(x.flatten(1), y.flatten(1)) == pytest.approx(theirs.compute().item(), rel=1e-6)


@pytest.mark.slow
def test_kernel_distance_matches_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = features(5), features(6)
    ours = kernel_distance(x, y)
    assert ours == pytest.approx(kid.poly_mmd(x, y, degree=3, gamma=None, coef=1.0).item(), rel=1e-9)


def test_kernel_distance_is_mean_over_pairs() -> None:
    x, y = features(7, 9, 3), features(8, 6, 3)

    def mean(a: Tensor, b: Tensor, *, different: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (different and i == j)]
        return sum((float(a[i] @ b[j]) / 3 + 1) ** 3 for i, j in pairs) / len(pairs)

    expected = mean(x, x, different=True) + mean(y, y, different=True) - 2 * mean(x, y, different=False)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


@given(seeds)
def test_distances_are_symmetric_and_ignore_order(seed: int) -> None:
    x, y = features(seed), features(seed + 1, 40)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for distance in (frechet_distance, kernel_distance):
        once = distance(x, y)
        assert distance(y, x) == pytest.approx(once, rel=1e-6, abs=1e-6)
        assert distance(x[order], y) == pytest.approx(once, rel=1e-6, abs=1e-6)


@given(seeds)
def test_frechet_distance_root_is_metric(seed: int) -> None:
    x, y, z = (features(seed + i) for i in range(3))
    assert 0 <= frechet_distance(x, x) < 1e-6
    xy, yz, xz = (frechet_distance(a, b) ** 0.5 for a, b in ((x, y), (y, z), (x, z)))
    assert xz <= xy + yz + 1e-6


def test_kernel_distance_is_unbiased() -> None:
    pool = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts = torch.split(pool, 10)
    values = torch.tensor([kernel_distance(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)])
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    assert values.min() < 0 < values.max()


def test_kernel_distance_is_independent_of_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = kernel_distance(features(1), features(2))
    monkeypatch.setattr(distances, "CHUNK", 7)
    assert kernel_distance(features(1), features(2)) == pytest.approx(whole, rel=1e-12)


def test_frechet_distance_accepts_constant_features() -> None:
    assert frechet_distance(torch.zeros(20, 3), torch.ones(20, 3)) == pytest.approx(3)


def test_distances_refuse_too_few_samples() -> None:
    with pytest.raises(UserError, match="needs at least 10 images, not 9"):
        frechet_distance(features(1), features(2, 9))
    with pytest.raises(ValueError, match="two samples"):
        kernel_distance(features(1), features(2, 1))
