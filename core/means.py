"""Means of PSNR and of what is known without a truth, and their texts.

The PSNR of an exact image, one that equals its truth, is infinite. A mean leaves exact images out, and counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class PsnrMean(NamedTuple):
    """A mean PSNR in dB over the images that aren't exact. Of two means, the one with more exact images is larger."""

    exact: int
    value: float
    """Infinite if all images are exact."""


class Quality(NamedTuple):
    """The measures of a restoration that need no truth; None for an unknown one."""

    residual: float
    """Misfit to the measurements, a root mean square in 8-bit grey levels."""
    noise: float | None = None
    """Level of the noise in 8-bit grey levels."""
    predicted: float | None = None
    """Predicted PSNR in dB, with a 90% interval from `lower` to `upper`."""
    lower: float | None = None
    upper: float | None = None

    @property
    def misfit_text(self) -> str:
        """The residual beside the noise, in words."""
        return f"residual {self.residual:.1f}" + ("" if self.noise is None else f", noise {self.noise:.1f}")

    @property
    def prediction_text(self) -> str:
        """The predicted PSNR with its interval, without a name; empty if it is unknown."""
        return "" if self.predicted is None else predicted_decibels(self.predicted, self.lower, self.upper)


def predicted_decibels(value: float, lower: float | None, upper: float | None) -> str:
    """Format a predicted PSNR with its interval."""
    return f"{value:.1f} dB" + ("" if lower is None or upper is None else f" ({lower:.1f} to {upper:.1f})")


def quality_mean(qualities: Sequence[Quality]) -> Quality:
    """Return the mean of each value that is known for all restorations."""
    columns = ([value for value in column if value is not None] for column in zip(*qualities, strict=True))
    residual, *others = (mean(known) if len(known) == len(qualities) else None for known in columns)
    return Quality(math.nan if residual is None else residual, *others)


def mean(values: Sequence[float]) -> float:
    """Return the mean, or NaN if there are no values."""
    return sum(values) / len(values) if values else math.nan


def mean_without_infinite(values: Sequence[float]) -> float:
    """Return the mean of the values that aren't infinite, or of all values if there are no others."""
    return mean([value for value in values if not math.isinf(value)] or values)


def psnr_mean(values: Sequence[float]) -> PsnrMean:
    """Return the mean PSNR over the images that aren't exact, and the number of exact images."""
    others = [value for value in values if value != math.inf]
    return PsnrMean(len(values) - len(others), mean(others or values))


def decibels(value: float | PsnrMean, unit: str = " dB") -> str:
    """Format a PSNR with its unit: an infinite one is "exact"; a mean says how many exact images it leaves out."""
    exact, value = value if isinstance(value, PsnrMean) else (0, value)
    if value == math.inf:
        return "exact"
    return f"{value:.2f}{unit}" + (f", {exact} exact" if exact else "")
