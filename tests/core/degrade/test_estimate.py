from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import GaussianNoise, degrade
from dipddpm.core.degrade.estimate import estimate_sigma, with_noise_level
from dipddpm.core.errors import UserError


def scenes(size: int) -> Tensor:
    """Return a slope, an edge along an axis and a disc, (3, 1, size, size)."""
    line = torch.linspace(0, 1, size)
    down, across = torch.meshgrid(line, line, indexing="ij")
    slope = (down + across) / 2
    edge = (across > 0.4).float() * 0.6 + 0.2
    disc = ((down - 0.5) ** 2 + (across - 0.5) ** 2 < 0.1).float()
    return torch.stack([slope, edge, disc])[:, None]


@pytest.mark.parametrize("sigma", [5, 10, 25, 50, 100])
@pytest.mark.parametrize("size", [28, 64])
def test_estimate_sigma_matches_known_noise_level(sigma: int, size: int) -> None:
    x = scenes(size).repeat(10, 1, 1, 1)
    y, degradation = degrade(parse_task(f"denoise:sigma={sigma},blind=true"), x, range(30))
    estimated = estimate_sigma(y, torch.ones_like(y)) * 255
    assert estimated.mean().item() == pytest.approx(sigma, rel=0.1)
    assert (estimated - sigma).abs().max() < 0.5 * sigma
    noise = with_noise_level(y, degradation).noise
    assert isinstance(noise, GaussianNoise)
    assert noise.sigma * 255 == pytest.approx(sigma, rel=0.1)


def test_estimate_sigma_ignores_planes_and_edges() -> None:
    assert estimate_sigma(scenes(28), torch.ones(3, 1, 28, 28)).max() < 1e-3


def test_estimate_sigma_counts_measured_pixels_only() -> None:
    y = 0.2 * torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    measured = torch.ones_like(y)
    measured[..., :20] = 0
    y[..., :20] = 9 * torch.randn(2, 3, 40, 20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimate_sigma(y, measured), torch.full((2,), 0.2), rtol=0.1, atol=0)
    measured[0] = 0
    torch.testing.assert_close(estimate_sigma(y, measured), torch.full((2,), 0.2), rtol=0.1, atol=0)
    with pytest.raises(UserError, match="no block of 3x3 pixels"):
        estimate_sigma(y, torch.zeros_like(y))


@pytest.mark.parametrize(
    "task", ["denoise:sigma=25", "denoise:noise=salt-and-pepper,blind=true", "inpaint:missing=0.7"]
)
def test_with_noise_level_leaves_known_and_impulse_noise_unchanged(task: str) -> None:
    y, degradation = degrade(parse_task(task), scenes(28), range(3))
    assert with_noise_level(y, degradation) is degradation


def test_with_noise_level_describes_blind_poisson_noise_as_gaussian() -> None:
    x = torch.full((4, 1, 32, 32), 0.5)
    y, degradation = degrade(parse_task("denoise:noise=poisson,photons=20,blind=true"), x, range(4))
    noise = with_noise_level(y, degradation).noise
    assert isinstance(noise, GaussianNoise)
    assert noise.sigma == pytest.approx((0.5 / 20) ** 0.5, rel=0.1)
