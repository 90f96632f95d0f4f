"""Moments of the noise in the flat parts of a picture, apart from its texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from dipddpm.core.degrade.noise_curve import Moments

SIDES = (5, 3, 2)
"""Sides of the patches, in pixels; smaller ones are for pictures with many missing values."""
ENOUGH = 1500
"""Number of patches from which no smaller patches are taken."""
_LEAST = 100
"""Number of patches from which anything can be said."""
MAX_PATCHES = 120_000
FLAT = 0.2
"""Share of the patches of one brightness that count as flat: those with the least variance around them."""
_FLATTEST = 0.02
_DARK = 0.1
"""Distance from black or white below which much of the noise may be clipped."""
_RING, _WIDE_RING = 2, 4
"""Widths in pixels of the surroundings of a patch: of a patch with little noise, and with much."""
_STRONG = 15 / 255
"""Standard deviation of noise above which the mean of narrow surroundings is too uncertain."""
_MAX_SLOPE = 0.3
_SATURATED = 0.5 / 255
"""Distance of a mean from black or white below which surroundings are saturated, so that they show no noise."""


@dataclass(frozen=True)
class FlatPatches:
    """The noise in flat patches."""

    moments: Moments
    colouring: float
    """Energy of broad structures over that of fine ones in the flattest patches: 1 for white noise; 5 and more for
    noise that is correlated between neighbours."""
    deviation: float
    """The standard deviation of values in the flattest patches, whatever their correlation."""


def measure_flat_patches(planes: NDArray[np.float32], measured: NDArray[np.bool_]) -> FlatPatches | None:
    """Measure the noise of planes (P, H, W) where they are `measured`; None if too few patches are.

    The directions in which patches vary least (principal components; Pyatykh et al., IEEE TIP 2013) hold the noise and
    little of the picture. Patches are taken as flat if the pixels around them vary little. Those pixels have their own
    noise, so this choice doesn't favour patches with little noise. What texture is left in flat patches is subtracted:
    in textured patches it raises the energy of fine structures by a fixed share of the energy of broad ones.
    """
    for side in SIDES:
        found = _gather(planes, measured, side, _RING)
        if found is not None and (len(found[0]) >= ENOUGH or side == SIDES[-1]):
            flat = _measure(*found)
            strong = np.median(flat.moments.variance) > _STRONG**2
            wide = _gather(planes, measured, side, _WIDE_RING) if strong else None
            return flat if wide is None or len(wide[0]) < ENOUGH else _measure(*wide)
    return None


def _gather(
    planes: NDArray[np.float32], measured: NDArray[np.bool_], side: int, ring: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], float] | None:
    """Return patches (N, side^2), the mean and the variance of the pixels around each, and how often pixels repeat."""
    height, width = planes.shape[1:]
    margin = side // 2 + ring
    if min(height, width) < side + 2 * ring:
        return None
    weight = measured.astype(np.float32)
    known = planes * weight

    def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return _sums(values, side + 2 * ring) - _sums(values, side)

    complete = _sums(weight, side) > side * side - 0.5
    number = around(weight)
    usable = complete & (number > 3.5)
    usable[:, :margin] = usable[:, height - margin :] = False
    usable[:, :, :margin] = usable[:, :, width - margin :] = False
    indices = np.flatnonzero(usable)
    if len(indices) < _LEAST:
        return None
    kept = indices[:: -(-len(indices) // MAX_PATCHES)]
    plane, row, column = np.unravel_index(kept, planes.shape)
    windows = sliding_window_view(planes, (side, side), axis=(1, 2))
    patches = windows[plane, row - side // 2, column - side // 2].reshape(len(kept), -1)
    number = number.ravel()[kept]
    mean = around(known).ravel()[kept] / number
    variance = around(known * known).ravel()[kept] / number - mean**2
    exposed = np.minimum(np.abs(mean), np.abs(mean - 1)) > _SATURATED
    if exposed.sum() >= ENOUGH:
        patches, mean, variance = patches[exposed], mean[exposed], variance[exposed]
    return patches, mean, variance, max(1.0, len(kept) * side * side / len(indices))


def _sums(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    sums: NDArray[np.float32] = uniform_filter(values, size=(1, side, side), mode="constant") * np.float32(side * side)
    return sums


def _measure(
    patches: NDArray[np.float32], mean: NDArray[np.float32], around: NDArray[np.float32], repeats: float
) -> FlatPatches:
    centered = patches - patches.mean(1, keepdims=True)
    _, directions = np.linalg.eigh((centered.T @ centered).astype(np.float64))
    squares = (centered @ directions[:, 1:].astype(np.float32)) ** 2  # the first direction is constant
    quiet = max(1, patches.shape[1] // 4)
    fine, broad = squares[:, :quiet].mean(1), squares[:, quiet:].mean(1)
    bins = _bins(mean, around)
    slope = _texture_slope(fine, broad, bins)
    rows: list[tuple[float, float, float, float]] = []
    for indices in bins:
        flat = indices[: max(2, int(len(indices) * FLAT))]
        own, other = float(fine[flat].mean()), float(broad[flat].mean())
        variance = max((own - slope * max(other, own)) / (1 - slope), 0.2 * own, 1e-7)
        rows.append((float(mean[flat].mean()), variance, quiet * len(flat) / repeats, other / max(own, 1e-7)))
    order = np.argsort(around)
    order = order[around[order] > 0.02 * np.median(around)]  # without saturated parts, which have no noise at all
    inside = order[(mean[order] > _DARK) & (mean[order] < 1 - _DARK)]
    choices = [each[: max(20, int(len(each) * _FLATTEST))] for each in (inside, order) if len(each) > len(mean) / 20]
    colouring = min((float(broad[each].mean() / max(fine[each].mean(), 1e-7)) for each in choices), default=1.0)
    deviation = float(np.sqrt(squares[choices[0]].mean())) if choices else 0.0
    return FlatPatches(Moments(*np.array(rows, np.float64).T), colouring, deviation)


def _bins(mean: NDArray[np.float32], around: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Group the patches by brightness; return the indices of each group, the flattest surroundings first."""
    low, high = np.quantile(mean, [0.001, 0.999])
    count = int(np.clip(len(mean) // 300, 1, 24))
    number = np.clip(((mean - low) / max(high - low, 1e-6) * count).astype(int), 0, count - 1)
    groups = (np.flatnonzero(number == index) for index in range(count))
    least = min(_LEAST, len(mean))
    return [group[np.argsort(around[group])] for group in groups if len(group) >= least]


def _texture_slope(fine: NDArray[np.float32], broad: NDArray[np.float32], bins: list[NDArray[np.intp]]) -> float:
    """Return how much energy of fine structures texture adds for each unit of broad structures' energy."""
    products = squares = 0.0
    for indices in bins:
        parts = np.array_split(indices, 5)
        own, other = (np.array([values[part].mean() for part in parts]) for values in (fine, broad))
        scale = other[0] ** 2 + 1e-12
        products += float(((own - own[0]) * (other - other[0])).sum() / scale)
        squares += float(((other - other[0]) ** 2).sum() / scale)
    return float(np.clip(products / squares if squares else 0.0, 0, _MAX_SLOPE))
