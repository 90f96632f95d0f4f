"""Curves of runs that differ in their seeds only: their mean and, one standard deviation around it, a band."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]
POINTS = 200
"""More than a terminal is wide."""


class Band(NamedTuple):
    """The mean at each x, and its bounds; these are not numbers where a single curve is left."""

    x: list[float]
    mean: list[float]
    lower: list[float]
    upper: list[float]


def band(curves: Sequence[Curve], points: int = POINTS) -> Band:
    """The mean of several curves, each interpolated between its points and taken no further than it goes.

    What is not finite counts for nothing: one run that diverged doesn't hide the others.
    """
    grid = _thinned(sorted({float(at) for x, _ in curves for at in x}), points)
    result = Band([], [], [], [])
    for at in grid:
        values = [value for curve in curves if math.isfinite(value := value_at(curve, at))]
        if not values:
            continue
        mean = statistics.fmean(values)
        std = statistics.stdev(values, mean) if len(values) > 1 else math.nan
        for column, value in zip(result, (at, mean, mean - std, mean + std), strict=True):
            column.append(value)
    return result


def value_at(curve: Curve, at: float) -> float:
    """The value there, on the straight line between its neighbours; not a number beyond the curve's ends."""
    x, y = curve
    after = bisect_left(x, at)
    if after == len(x) or (after == 0 and x[0] != at):
        return math.nan
    if x[after] == at:
        return y[after]
    share = (at - x[after - 1]) / (x[after] - x[after - 1])
    return (1 - share) * y[after - 1] + share * y[after]


def _thinned(values: Sequence[float], points: int) -> list[float]:
    """So many of them at most, the first and the last among these."""
    if len(values) <= points:
        return list(values)
    return [values[round(index * (len(values) - 1) / (points - 1))] for index in range(points)]
