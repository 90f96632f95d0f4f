"""Curves of a run: stored, smoothed, averaged, and reduced to the width of a chart without hiding a spike.

Values are only appended, except when a run is resumed; so smoothing and binning process new values only.
"""

from __future__ import annotations

import math
import statistics
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import median_high
from typing import Literal, NamedTuple, TypeAlias

from dipddpm.core import events
from dipddpm.core.events import RunResumed
from dipddpm.core.means import PsnrMean, psnr_mean
from dipddpm.core.runs import voids

Axis: TypeAlias = Literal["step", "epoch", "time"]
AXES: tuple[Axis, ...] = ("step", "epoch", "time")
NAN = math.nan
Curve: TypeAlias = tuple[Sequence[float], Sequence[float]]
BAND_POINTS = 200
"""Points of an averaged curve: more than a terminal has columns."""
SERIES_COLOURS = 8
"""Series colours in each theme, and so the maximum number of runs compared."""


class Series(NamedTuple):
    """A line on a chart: `x` never decreases, and the line has a gap where `y` is not finite.

    `colour` is the index of one of the theme's series colours. A `faint` line is drawn beneath the others.
    With `marks_non_finite`, a sign marks each value that is not finite, so that a diverged loss can be seen.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    faint: bool = False
    marks_non_finite: bool = False


class Track:
    """Rows of values, each with its step, its epoch (with a fraction) and its time (in seconds of work)."""

    def __init__(self, *names: str) -> None:
        self._axes: dict[Axis, array[float]] = {axis: array("d") for axis in AXES}
        self.offset = array("q")
        self.values: dict[str, array[float]] = {name: array("d") for name in names}
        self._smooth: dict[str, Smoother] = {}

    def __len__(self) -> int:
        return len(self.offset)

    def append(self, at: tuple[float, float, float], offset: int, *values: float | None) -> None:
        """Add a row at a step, an epoch and a time, with a value for each name and its event's `offset` in the log.

        No axis ever decreases, even if the log was tampered with or the clock was set back.
        """
        for column, position in zip(self._axes.values(), at, strict=True):
            column.append(max(position, column[-1]) if column else position)
        self.offset.append(offset)
        for column, value in zip(self.values.values(), values, strict=True):
            column.append(NAN if value is None else value)

    def x(self, axis: Axis) -> array[float]:
        """Return the positions of the rows on an axis."""
        return self._axes[axis]

    def smoothed(self, name: str, weight: float) -> array[float]:
        """Return the values of a name, smoothed with a weight in (0, 1) of the past; the array grows in place."""
        smoother = self._smooth.get(name)
        if smoother is None or smoother.weight != weight:
            smoother = self._smooth[name] = Smoother(weight)
        return smoother.update(self.values[name])

    def row_at(self, step: float) -> int:
        """Return the index of the last row at or before a step; -1 if there is none."""
        return bisect_right(self.x("step"), step) - 1

    def drop_voided(self, resumed: RunResumed) -> None:
        """Drop the rows that a resumed run does again, as in `core.runs.voids`; all arrays are replaced by new ones."""
        if resumed.from_offset is None:
            return
        row_count = bisect_left(self.offset, resumed.from_offset)
        self.offset = self.offset[:row_count]
        self._axes = {axis: column[:row_count] for axis, column in self._axes.items()}
        self.values = {name: values[:row_count] for name, values in self.values.items()}
        self._smooth.clear()


class Smoother:
    """An exponential moving average with Adam's correction of the initial bias towards zero."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.smooth = array("d")
        self._average = 0.0
        self._share = 1.0

    def update(self, values: Sequence[float]) -> array[float]:
        """Smooth the values appended since the last call. Values that aren't finite stay gaps and don't count."""
        weight, average, share = self.weight, self._average, self._share
        append, isfinite = self.smooth.append, math.isfinite
        for index in range(len(self.smooth), len(values)):
            value = values[index]
            if isfinite(value):
                average = weight * average + (1 - weight) * value
                share *= weight
                append(average / (1 - share))
            else:
                append(NAN)
        self._average, self._share = average, share
        return self.smooth


class Binner:
    """Reduces a series to the smallest and the largest value in each of `columns` columns from `lower` to `upper`.

    So no spike is hidden. A value that isn't finite leaves a gap, even if its column also has finite values.
    """

    def __init__(self, lower: float, upper: float, columns: int) -> None:
        self.key = (lower, upper, columns)
        self._width = (upper - lower) / columns if upper > lower else 1.0
        self._x: list[float] = []
        self._y: list[float] = []
        self._next = 0
        self._source: tuple[Sequence[float], Sequence[float]] = ((), ())

    def update(self, x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
        """Return the reduced series. Columns already complete at the last call with the same sequences are reused."""
        if x is not self._source[0] or y is not self._source[1] or self._next > len(y):
            self._x, self._y, self._next, self._source = [], [], 0, (x, y)
        lower, upper, columns = self.key
        end = bisect_right(x, upper, hi=len(y))
        start = self._next or bisect_left(x, lower, hi=end)
        xs, ys = self._x.copy(), self._y.copy()
        while start < end:
            column = min(columns - 1, int((x[start] - lower) / self._width))
            stop = bisect_left(x, lower + (column + 1) * self._width, lo=start + 1, hi=end)
            if column == columns - 1:
                stop = end
            elif stop < end:  # a later column has values, so this one is complete
                self._next = stop
            part = y[start:stop]
            indices = _extreme_indices(part)
            new_x = [x[start + index] for index in indices]
            new_y = [part[index] if math.isfinite(part[index]) else NAN for index in indices]
            xs += new_x
            ys += new_y
            if self._next == stop:
                self._x += new_x
                self._y += new_y
            start = stop
        return xs, ys


def _extreme_indices(part: Sequence[float]) -> list[int]:
    """Return the indices of the values that must be drawn: smallest, largest and first not finite; in order."""
    if len(part) <= 2:
        return list(range(len(part)))
    if math.isfinite(sum(part)):
        return sorted({part.index(min(part)), part.index(max(part))})
    finite = [index for index, value in enumerate(part) if math.isfinite(value)]
    indices = {next((index for index, value in enumerate(part) if not math.isfinite(value)), 0)}
    if finite:
        indices |= {min(finite, key=part.__getitem__), max(finite, key=part.__getitem__)}
    return sorted(indices)


class Band(NamedTuple):
    """The mean of several curves at each x, and one standard deviation below and above; NaN for a single curve."""

    x: list[float]
    mean: list[float]
    lower: list[float]
    upper: list[float]


def band(curves: Sequence[Curve], points: int = BAND_POINTS) -> Band:
    """Return the mean of several curves, each interpolated between its points but not extrapolated.

    Values that aren't finite are left out, so that one diverged run doesn't hide the others.
    """
    import numpy as np

    grid = np.unique([at for x, _ in curves for at in x])
    if len(grid) > points:
        grid = grid[np.linspace(0, len(grid) - 1, points).round().astype(int)]
    columns = [np.interp(grid, x, y, left=NAN, right=NAN).tolist() for x, y in curves]
    result = Band([], [], [], [])
    for at, *interpolated in zip(grid.tolist(), *columns, strict=True):
        values = [value for value in interpolated if math.isfinite(value)]
        if not values:
            continue
        mean = statistics.fmean(values)
        std = statistics.stdev(values, mean) if len(values) > 1 else math.nan
        for column, value in zip(result, (at, mean, mean - std, mean + std), strict=True):
            column.append(value)
    return result


class StepValue(NamedTuple):
    """A value at a step."""

    step: int
    value: float


class PsnrCurve(NamedTuple):
    """PSNR in dB against the step, of an image (-1: the mean, -2: the averaged outputs), its peak and its stop."""

    image: int
    label: str
    x: array[float]
    y: array[float]
    peak: StepValue | None
    stop: StepValue | None


class PsnrRecord:
    """All PSNR measurements and early stops of one run so far."""

    def __init__(self) -> None:
        self.track = Track("mean", "averaged")
        self.stops: list[events.EarlyStopped] = []
        self._images: list[array[float]] = []
        self._measured = array("q")  # the number of images in each row
        self._peaks: list[StepValue | None] = [None]

    def add(self, event: events.PsnrMeasured) -> None:
        """Add a measurement whose row is already on the track."""
        while len(self._images) < len(event.psnr):
            self._images.append(array("d", [NAN]) * (len(self.track) - 1))
            self._peaks.append(None)
        self._measured.append(len(event.psnr))
        for image, values in enumerate(self._images):
            values.append(event.psnr[image] if image < len(event.psnr) else NAN)
        for index, value in enumerate([self.track.values["mean"][-1], *event.psnr]):
            peak = self._peaks[index]
            if math.isfinite(value) and (peak is None or value > peak.value):
                self._peaks[index] = StepValue(event.step, value)

    def mean_at(self, step: int) -> PsnrMean | None:
        """Return the mean of the images at the last measurement at or before a step; None if there is none."""
        row = self.track.row_at(step)
        if row < 0:
            return None
        values = [image[row] for image in self._images[: self._measured[row]]]
        mean = psnr_mean(values or [self.track.values["mean"][row]])
        return None if math.isnan(mean.value) else mean

    def drop_voided(self, resumed: events.RunResumed) -> None:
        """Drop the measurements and stops of the steps that a resumed run does again."""
        self.track.drop_voided(resumed)
        self._measured = self._measured[: len(self.track)]
        self._images = [values[: len(self.track)] for values in self._images[: max(self._measured, default=0)]]
        self._peaks = [_peak(self.track.x("step"), values) for values in (self.track.values["mean"], *self._images)]
        self.stops[:] = [event for event in self.stops if not voids(resumed, event)]

    def curves(self) -> list[PsnrCurve]:
        """Return the curves: the mean (image -1), the averaged outputs (image -2) if measured, and each image."""
        steps = self.track.x("step")
        if not len(steps):
            return []
        stops = {event.image: StepValue(event.at, NAN if event.psnr is None else event.psnr) for event in self.stops}
        mean_stop = self._mean_stop(list(stops.values()))
        curves = [PsnrCurve(-1, "mean", steps, self.track.values["mean"], self._peaks[0], mean_stop)]
        averaged = self.track.values["averaged"]
        if (peak := _peak(steps, averaged)) is not None:
            curves.append(PsnrCurve(-2, "averaged", steps, averaged, peak, None))
        for image, values in enumerate(self._images):
            curves.append(PsnrCurve(image, f"image {image}", steps, values, self._peaks[image + 1], stops.get(image)))
        return curves

    def _mean_stop(self, stops: list[StepValue]) -> StepValue | None:
        """Return the images' median stopping step and their mean PSNR there; None until all images have stopped."""
        if not stops or len(stops) < len(self._images) or any(math.isnan(spot.value) for spot in stops):
            return None
        return StepValue(median_high(spot.step for spot in stops), psnr_mean([spot.value for spot in stops]).value)


def _peak(steps: array[float], values: array[float]) -> StepValue | None:
    finite = [index for index, value in enumerate(values) if math.isfinite(value)]
    best = max(finite, key=values.__getitem__, default=None)
    return None if best is None else StepValue(int(steps[best]), values[best])
