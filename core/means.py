"""Means of PSNR, and their texts.

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
