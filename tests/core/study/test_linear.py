from __future__ import annotations

import numpy as np
import pytest
import torch

from dipddpm.core.study.inputs import WINDOW, predictable_share


def noise(count: int, seed: int, side: int = 20) -> torch.Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.9, 0.3), (0.5, 0.5), (0.2, 0.9)])
def test_predictable_share_matches_known_mixture(a: float, b: float) -> None:
    eps, other = noise(60, 1), noise(60, 2)
    share = predictable_share(a * eps + b * other, eps, fitted=40)
    assert share == pytest.approx(a**2 / (a**2 + b**2), abs=0.01)


@pytest.mark.parametrize("inputs", [noise(60, 3), torch.zeros(60, 1, 20, 20), torch.ones(60, 1, 20, 20)])
def test_predictable_share_is_zero_without_information(inputs: torch.Tensor) -> None:
    assert -0.02 < predictable_share(inputs, noise(60, 4), fitted=40) < 0.005


def test_predictable_share_uses_only_its_window() -> None:
    eps, reach = noise(60, 5), WINDOW // 2
    inside, outside = (eps.roll(shift, -1) for shift in (reach, reach + 1))
    # The columns that `roll` wraps around from the other side can't be predicted.
    assert predictable_share(inside, eps, fitted=40) == pytest.approx((20 - reach) / 20, abs=0.03)
    assert predictable_share(outside, eps, fitted=40) < 0.05


def test_predictable_share_is_least_squares_on_neighbourhoods() -> None:
    inputs, eps = noise(6, 6, 12), noise(6, 7, 12)
    eps = eps + 0.5 * inputs.roll(2, -2)
    reach = WINDOW // 2

    def rows(images: torch.Tensor) -> np.ndarray:
        padded = np.pad(images.squeeze(1).numpy().astype(float), ((0, 0), (reach, reach), (reach, reach)))
        neighbourhoods = [
            [*image[i : i + WINDOW, j : j + WINDOW].ravel(), 1.0]
            for image in padded
            for i in range(12)
            for j in range(12)
        ]
        return np.array(neighbourhoods)

    targets = eps.double().numpy()
    weights, *_ = np.linalg.lstsq(rows(inputs[:4]), targets[:4].ravel(), rcond=None)
    test_targets = targets[4:].ravel()
    error = ((rows(inputs[4:]) @ weights - test_targets) ** 2).sum()
    expected = 1 - error / ((test_targets - targets[:4].mean()) ** 2).sum()
    assert predictable_share(inputs, eps, fitted=4) == pytest.approx(expected, abs=2e-3)
