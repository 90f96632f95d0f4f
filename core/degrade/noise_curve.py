"""The variance of noise as a function of the mean, for pictures that are clipped to [0, 1], and its fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import ndtr
from scipy.stats import poisson

Array: TypeAlias = NDArray[np.float64]
Range: TypeAlias = Literal["unbounded", "clipped", "inside"]
"""How values outside [0, 1] are treated: they occur, they became 0 or 1, or they are left out."""
CurveKind: TypeAlias = Literal["gaussian", "poisson", "poisson-gaussian"]

PENALTY: dict[CurveKind, float] = {"gaussian": 0.0, "poisson": 1.0, "poisson-gaussian": 9.0}
"""Misfit by which a kind must be better than Gaussian noise, for its lower frequency or its further parameter."""
_GAIN_BOUNDS = math.log(1e-5), math.log(1.0)
_VARIANCE_BOUNDS = 2 * math.log(0.1 / 255), 2 * math.log(130 / 255)
_LARGEST_UNBOUNDED = 2 * math.log(4.0)
"""Log of the largest variance of noise that isn't clipped; clipping leaves nothing of such noise to estimate."""
_CLIPPING = 20.0
"""Largest ratio of the variance of noise to that which clipping leaves."""
_FLOOR = 0.025
"""Relative error of a variance that doesn't shrink with the number of values."""
_TEXTURED = 0.5
"""Further relative error, for each unit by which texture raises the variance of broader structures."""
_MEANS = np.linspace(0, 1, 81)
_EXACT_BELOW = 40.0
"""Photons of a white pixel below which the counts are summed one by one; above it they are nearly Gaussian."""


@dataclass(frozen=True)
class Moments:
    """Means and variances of values in flat parts of a picture, one entry for each interval of brightness."""

    mean: Array
    variance: Array
    count: Array
    """The number of independent values behind each variance."""
    texture: Array
    """The variance of broader structures, as a multiple of `variance`; 1 for white noise."""


@dataclass(frozen=True)
class Curve:
    """The variance gain * mean + offset of the noise before any clipping."""

    gain: float
    """1 / photons; 0 for Gaussian noise."""
    offset: float
    """sigma^2; 0 for Poisson noise."""

    @property
    def _counts_photons(self) -> bool:
        """True if the noise is that of so few photons that it differs from Gaussian noise of the same variance."""
        return not self.offset and self.gain > 1 / _EXACT_BELOW

    def variance(self, mean: Array, limits: Range, rounding: float = 0.0) -> Array:
        """Return the variance of stored values, given their mean."""
        if limits == "unbounded":
            return self.gain * np.maximum(mean, 0) + self.offset + rounding
        if limits == "clipped" and self._counts_photons:
            means, variances = _clipped_counts(self.gain)
        else:
            center, sigma = self._centers()
            means, variances = (clipped_moments if limits == "clipped" else _inside_moments)(center, sigma)
        return np.interp(mean, means, variances) + rounding

    def _centers(self) -> tuple[Array, Array]:
        """Return means before clipping, from far below 0 to far above 1, and the standard deviations there."""
        # Read-out noise may have a mean below 0 and a picture may be overexposed.
        low, high = math.sqrt(self.offset), math.sqrt(self.gain + self.offset)
        below = -np.linspace(4 * low + 1e-3, 1e-3, 40)
        center = np.concatenate([below, _MEANS, 1 + np.linspace(0, 4 * high, 40)[1:]])
        return center, np.sqrt(np.maximum(self.gain * np.maximum(center, 0) + self.offset, 1e-10))


def _density(t: Array) -> Array:
    density: Array = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
    return density


def clipped_moments(center: Array, sigma: Array | float) -> tuple[Array, Array]:
    """Return the mean and the variance of Gaussian values that are clipped to [0, 1]."""
    low, high = -center / sigma, (1 - center) / sigma
    inside = ndtr(high) - ndtr(low)
    above = ndtr(-high)
    mean = center * inside + sigma * (_density(low) - _density(high)) + above
    square = (center**2 + sigma**2) * inside + above + 2 * center * sigma * (_density(low) - _density(high))
    square += sigma**2 * (low * _density(low) - high * _density(high))
    return mean, np.maximum(square - mean**2, 0)


def _inside_moments(center: Array, sigma: Array) -> tuple[Array, Array]:
    """Return the mean and the variance of Gaussian values, given that they are in [0, 1]."""
    near = np.clip(center, -2.5 * sigma, 1 + 2.5 * sigma)  # farther out hardly any value is inside
    low, high = -near / sigma, (1 - near) / sigma
    inside = ndtr(high) - ndtr(low)
    first = (_density(low) - _density(high)) / inside
    second = (low * _density(low) - high * _density(high)) / inside
    return near + sigma * first, np.maximum(sigma**2 * (1 + second - first**2), 0)


def _clipped_counts(gain: float) -> tuple[Array, Array]:
    """Return the mean and the variance of Poisson counts times `gain`, clipped at 1, for growing intensities."""
    photons = 1 / gain
    counts = np.arange(int(1.5 * photons + 8 * math.sqrt(photons) + 10))
    probability = poisson.pmf(counts, np.linspace(0, 1.5, 121)[:, None] * photons)
    value, above = np.minimum(counts * gain, 1), 1 - probability.sum(1)
    mean = probability @ value + above
    return mean, probability @ value**2 + above - mean**2


def fit_curve(moments: Moments, kind: CurveKind, limits: Range, rounding: float) -> tuple[Curve, float]:
    """Fit the curve of a kind of noise; return it with its misfit, a sum of squares that outliers enter linearly."""
    mean, variance = moments.mean, moments.variance
    error = np.sqrt(2 / moments.count) + _FLOOR + _TEXTURED * np.maximum(moments.texture - 1, 0)
    typical = float(np.median(variance))

    def curve(logs: Array) -> Curve:
        values = [math.exp(value) for value in logs]
        if kind == "poisson-gaussian":
            return Curve(*values)
        return Curve(0.0, values[0]) if kind == "gaussian" else Curve(values[0], 0.0)

    def residuals(logs: Array) -> Array:
        trial = curve(logs)
        # Where clipping leaves hardly any noise, the ratio of variances says little.
        least = 0.15 * (trial.gain * np.clip(mean, 0, 1) + trial.offset) + 1e-9
        result: Array = np.log((variance + least) / (trial.variance(mean, limits, rounding) + least)) / error
        return result

    def start(share: float) -> list[float]:
        gain = math.log(typical * share / max(float(np.median(mean)), 0.05))
        offset = math.log(typical * (share if kind == "gaussian" else 1 - share + 1e-9))
        return {"gaussian": [offset], "poisson": [gain], "poisson-gaussian": [gain, offset]}[kind]

    bounds = {
        "gaussian": [_VARIANCE_BOUNDS],
        "poisson": [_GAIN_BOUNDS],
        "poisson-gaussian": [_GAIN_BOUNDS, _VARIANCE_BOUNDS],
    }[kind]
    low, high = np.array(bounds).T
    if limits == "unbounded" and kind != "poisson":
        high[-1] = _LARGEST_UNBOUNDED
    if kind != "poisson":  # a far larger level would make all variances, however different, fit equally
        high[-1] = min(high[-1], max(low[-1] + 0.3, math.log(_CLIPPING * variance.max())))
    fits = (
        least_squares(
            residuals,
            np.clip(start(share), low + 0.1, high - 0.1),
            loss="soft_l1",
            bounds=(low, high),
            xtol=1e-4,
            ftol=1e-4,
            diff_step=1e-3,
        )
        for share in ((0.2, 0.8) if kind == "poisson-gaussian" else (1.0,))
    )
    best = min(fits, key=lambda fit: float(fit.cost))
    return curve(best.x), 2 * float(best.cost)
