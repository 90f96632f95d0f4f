"""Confidence intervals of the differences between two methods. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dipddpm.core.means import mean

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean of differences with its 95% confidence bounds; None for bounds that can't be computed."""

    mean: float
    lower: float | None
    upper: float | None
    left_out: int = 0
    """Number of images that the mean leaves out, since one method restores them exactly and the other doesn't."""

    def __str__(self) -> str:
        """Format the mean with its sign, then the bounds, without a unit."""
        return self.text()

    def text(self, unit: str = "") -> str:
        """Format the mean with its sign, the bounds or the reason why there are none, and the unit."""
        if math.isinf(self.mean):
            return "infinite (all are exact)" if self.mean > 0 else "-infinite (all of the other are exact)"
        if self.lower is None or self.upper is None or not math.isfinite(self.upper - self.lower):
            bounds = "no bounds" if math.isnan(self.mean) else "one image: no bounds"
        else:
            bounds = f"{self.lower:+.2f}, {self.upper:+.2f}"
        left_out = f", without {self.left_out} exact" if self.left_out else ""
        return f"{self.mean:+.2f} [{bounds}]{unit}{left_out}"


def interval(differences: Sequence[float]) -> Interval:
    """Return Student's t interval of the mean of independent differences; a single difference has no bounds."""
    return pooled([differences])


def pooled(strata: Sequence[Sequence[float]]) -> Interval:
    """Return the mean of the strata's means, where a stratum is a set of images, with its bounds.

    The bounds use Welch's t with Satterthwaite's degrees of freedom, (sum v)^2 / sum(v^2 / (n - 1)), where v is the
    squared standard error of a stratum's mean; for a single stratum this is Student's t interval. Infinite differences
    are left out, unless there are no others.
    """
    from scipy.special import stdtrit

    everything = [value for values in strata for value in values]
    finite = [kept for values in strata if (kept := [value for value in values if not math.isinf(value)])]
    left_out = len(everything) - sum(map(len, finite))
    if not finite:
        return Interval(mean(everything), None, None)
    means = [mean(values) for values in finite]
    centre = mean(means)
    if any(len(values) < 2 for values in finite):
        return Interval(centre, None, None, left_out)
    errors = [_variance(values, m) / len(values) / len(finite) ** 2 for values, m in zip(finite, means, strict=True)]
    total = sum(errors)
    if total == 0:
        return Interval(centre, centre, centre, left_out)
    if not math.isfinite(total):
        return Interval(centre, None, None, left_out)
    # Dividing by the total first avoids an underflow when small errors are squared.
    freedom = 1 / sum((e / total) ** 2 / (len(values) - 1) for e, values in zip(errors, finite, strict=True))
    reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return Interval(centre, centre - reach, centre + reach, left_out)


def _variance(values: Sequence[float], mean: float) -> float:
    differences = [value - mean for value in values]
    return sum(d * d for d in differences) / (len(values) - 1)  # d**2 would raise OverflowError for large d
