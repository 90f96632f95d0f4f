"""Differences between two methods on the same images, and how sure they are. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the bounds that hold the true one 95 times of 100."""

    mean: float
    lower: float
    upper: float

    def __str__(self) -> str:
        """As a table has it: the mean with its sign, then the bounds."""
        return f"{self.mean:+.2f} [{self.lower:+.2f}, {self.upper:+.2f}]"


def mean(values: Sequence[float]) -> float:
    """The mean; not a number where there are no values."""
    return sum(values) / len(values) if values else math.nan


def interval(differences: Sequence[float]) -> Interval:
    """Student's t interval for the mean of differences that are independent; unbounded for a single one."""
    return pooled([differences])


def pooled(strata: Sequence[Sequence[float]]) -> Interval:
    """The mean over strata (sets of images) of the mean within each, every stratum weighing alike.

    The bounds are those of Welch's t with Satterthwaite's degrees of freedom, (sum v)^2 / sum(v^2 / (n - 1)), v being
    the squared standard error of a stratum's mean; for a single stratum this is Student's.
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
    # As shares of the total, the squares of the smallest errors are still numbers.
    freedom = 1 / sum((e / total) ** 2 / (len(values) - 1) for e, values in zip(errors, strata, strict=True))
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return Interval(centre, centre - reach, centre + reach)


def _variance(values: Sequence[float], mean: float) -> float:
    differences = [value - mean for value in values]
    return sum(d * d for d in differences) / (len(values) - 1)  # of the largest, d**2 would be an error
