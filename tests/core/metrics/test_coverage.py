"""Coverage against the probabilities of order statistics, Gaussian integrals and a count of all orders of ties."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import norm

from dipddpm.core.metrics.coverage import coverage, widest_level

SHAPE = (20, 1, 50, 50)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("level", "count"), [(0.5, 3), (0.5, 8), (0.5, 32), (0.9, 19), (0.9, 32), (0.9, 40)])
def test_coverage_of_calibrated_samples_is_level_for_any_count(level: float, count: int) -> None:
    """The truth and the samples come from one skewed distribution, another one in each pixel."""
    center, width = 3 * normal(1, *SHAPE), 0.1 + normal(2, *SHAPE).abs()
    truth = center + width * normal(3, *SHAPE).exp()
    samples = center + width * normal(4, count, *SHAPE).exp()
    shares = coverage(samples, truth, level)
    assert shares.shape == (20,)
    assert shares.mean().item() == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / truth.numel()))


@pytest.mark.parametrize("spread", [0.5, 2.0])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_narrow_and_wide_samples_follows_gaussian_integral(level: float, spread: float) -> None:
    """With many samples the interval is known: the quantiles of N(0, spread^2), and the truth is N(0, 1)."""
    quantile = spread * norm.ppf((1 + level) / 2)
    expected = norm.cdf(quantile) - norm.cdf(-quantile)
    shape = (1, 1, 60, 60)
    shares = coverage(spread * normal(5, 999, *shape), normal(6, *shape), level)
    assert shares.item() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 3600) + 0.003)


def test_coverage_counts_ties_over_all_orders() -> None:
    """Samples equal to the truth are set just below or just above it in all ways with equal chances of each rank."""
    samples = torch.tensor([0.0, 0.0, 0.0, 0.2, 0.5, 0.6, 0.9]).view(-1, 1, 1, 1, 1)
    truth = torch.zeros(1, 1, 1, 1)
    # The truth is the first to the fourth of the eight numbers with equal chances; the 50% interval has ranks 2 to 5.
    ranks = [sum(order[i] < order[3] for i in range(3)) for order in itertools.permutations(range(4))]
    expected = sum(2 <= rank <= 5 for rank in ranks) / len(ranks)
    assert coverage(samples, truth, 0.5).item() == pytest.approx(expected) == 0.5


def test_coverage_of_one_pixel_interpolates_between_intervals() -> None:
    """The interval of all 4 samples has the level 0.6, that of the middle two 0.2; 0.4 lies midway between them."""
    samples = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(-1, 1, 1, 1, 1)
    found = [coverage(samples, torch.full((1, 1, 1, 1), x), 0.4).item() for x in (-1.0, 0.5, 1.5, 2.5, 4.0)]
    assert found == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_coverage_refuses_levels_that_need_more_samples() -> None:
    samples, truth = torch.zeros(18, 1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    with pytest.raises(ValueError, match="18 samples"):
        coverage(samples, truth, 0.9)
    assert widest_level(19) == 0.9
    assert widest_level(1) == 0


def test_coverage_is_nan_for_images_that_are_not_finite() -> None:
    samples = normal(7, 8, 2, 1, 4, 4)
    samples[3, 1, 0, 2, 2] = torch.nan
    shares = coverage(samples, torch.zeros(2, 1, 4, 4), 0.5)
    assert shares[0].isfinite()
    assert shares[1].isnan()
