"""Confidence intervals of the differences between two methods on the same images. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with its 95% confidence bounds."""

    mean: float
    lower: float
    upper: float

    def __str__(self) -> str:
        """Format the mean with its sign, then the bounds."""
        return f"{self.mean:+.2f} [{self.lower:+.2f}, {self.upper:+.2f}]"


def mean(values: Sequence[float]) -> float:
    """Return the mean, or NaN if there are no values."""
    return sum(values) / len(values) if values else math.nan


def decibels(value: float, unit: str = " dB") -> str:
    """Format a PSNR with its unit; a PSNR that is infinite, of an image equal to the truth, is "exact"."""
    return "exact" if value == math.inf else f"{value:.2f}{unit}"


def interval(differences: Sequence[float]) -> Interval:
    """Return Student's t interval of the mean of independent differences; it is unbounded for a single difference."""
    return pooled([differences])


def pooled(strata: Sequence[Sequence[float]]) -> Interval:
    """Return the mean of the strata's means, where a stratum is a set of images, with its bounds.

    The bounds use Welch's t with Satterthwaite's degrees of freedom, (sum v)^2 / sum(v^2 / (n - 1)), where v is the
    squared standard error of a stratum's mean; for a single stratum this is Student's t interval.
    """
    from scipy.special import stdtrit

    means = [mean(values) for values in strata]
    centre = mean(means)
    if any(len(values) < 2 for values in strata):
        return Interval(centre, -math.inf, math.inf)
    errors = [_variance(values, m) / len(values) / len(strata) ** 2 for values, m in zip(strata, means, strict=True)]
    total = sum(errors)
    if total == 0:
        return Interval(centre, centre, centre)
    if not math.isfinite(total):
        return Interval(centre, -math.inf, math.inf)
    # Dividing by the total first avoids an underflow when small errors are squared.
    freedom = 1 / sum((e / total) ** 2 / (len(values) - 1) for e, values in zip(errors, strata, strict=True))
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return Interval(centre, centre - reach, centre + reach)


def _variance(values: Sequence[float], mean: float) -> float:
    differences = [value - mean for value in values]
    return sum(d * d for d in differences) / (len(values) - 1)  # d**2 would raise OverflowError for large d
