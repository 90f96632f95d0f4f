"""Gaussian noise in a file that ends at black and white: clipping moves its mean, and makes it weaker there."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from dipddpm.core.degrade import GaussianNoise
from dipddpm.core.degrade.case import Case

Values = NDArray[np.float64]

FEWEST = 1e-3
"""The share of values at black or white from which measurements count as clipped."""
GRID = np.linspace(-1.5, 2.5, 4001)
"""True values; those beyond black and white stand for means that no picture's clipped noise can have."""


def clipped_sigma(case: Case) -> float:
    """Return the standard deviation of Gaussian noise that has been clipped to [0, 1]; 0 for other measurements."""
    noise, y = case.degradation.noise, case.y
    if not isinstance(noise, GaussianNoise) or not bool((y >= 0).all() and (y <= 1).all()):
        return 0.0
    extreme = ((y == 0) | (y == 1)) * case.degradation.operator.measured(y)
    return noise.sigma if extreme.mean().item() >= FEWEST else 0.0


def clipped_variance(means: Tensor, sigma: float) -> Tensor:
    """Return the variance of clipped noise around means of it (Foi 2009)."""
    return _interpolated(means, *_moments(sigma))


def without_clipping(means: Tensor, sigma: float) -> Tensor:
    """Return the true values in [0, 1] around which clipped noise has these means."""
    mean, _ = _moments(sigma)
    return _interpolated(means, mean, GRID).clamp(0, 1)


@functools.lru_cache(8)
def _moments(sigma: float) -> tuple[Values, Values]:
    """Return the mean and the variance of min(max(x + sigma n, 0), 1) for each x of the grid."""
    low, high = -GRID / sigma, (1 - GRID) / sigma
    inside = ndtr(high) - ndtr(low)
    density_low, density_high = (np.exp(-(each**2) / 2) / math.sqrt(2 * math.pi) for each in (low, high))
    mean = GRID * inside + sigma * (density_low - density_high) + ndtr(-high)
    square = (GRID**2 + sigma**2) * inside + 2 * sigma * GRID * (density_low - density_high)
    square += sigma**2 * (low * density_low - high * density_high) + ndtr(-high)
    return mean, np.maximum(square - mean**2, 0)


def _interpolated(at: Tensor, x: Values, y: Values) -> Tensor:
    return torch.from_numpy(np.interp(at.double().cpu().numpy(), x, y)).to(at)
