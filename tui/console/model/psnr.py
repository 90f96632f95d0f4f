"""PSNR as a run measured it: for each image and on the mean, where it peaked, and where a rule stopped."""

from __future__ import annotations

import math
from array import array
from statistics import fmean, median_high
from typing import NamedTuple

from dipddpm.core import events
from dipddpm.core.runs import voids
from dipddpm.tui.console.model.curves import NAN, Track


class StepValue(NamedTuple):
    """A value at a step."""

    step: int
    value: float


class PsnrCurve(NamedTuple):
    """PSNR in dB of one image (or the mean, image -1) against the step, its peak, and where a rule stopped."""

    image: int
    label: str
    x: array[float]
    y: array[float]
    peak: StepValue | None
    stop: StepValue | None


class PsnrRecord:
    """All measurements of one run so far."""

    def __init__(self) -> None:
        self.track = Track("mean", "averaged")
        self.stops: list[events.EarlyStopped] = []
        self._images: list[array[float]] = []
        self._measured = array("q")  # how many images each row told of
        self._peaks: list[StepValue | None] = [None]

    def add(self, event: events.PsnrMeasured) -> None:
        """Take in a measurement whose row is already on the track."""
        while len(self._images) < len(event.psnr):
            self._images.append(array("d", [NAN]) * (len(self.track) - 1))
            self._peaks.append(None)
        self._measured.append(len(event.psnr))
        for image, values in enumerate(self._images):
            values.append(event.psnr[image] if image < len(event.psnr) else NAN)
        for index, value in enumerate([event.mean, *event.psnr]):
            peak = self._peaks[index]
            if math.isfinite(value) and (peak is None or value > peak.value):
                self._peaks[index] = StepValue(event.step, value)

    def drop_voided(self, resumed: events.RunResumed) -> None:
        """Forget what was measured and stopped in what a resumed run does again."""
        self.track.drop_voided(resumed)
        self._measured = self._measured[: len(self.track)]
        self._images = [values[: len(self.track)] for values in self._images[: max(self._measured, default=0)]]
        self._peaks = [_peak(self.track.x("step"), values) for values in (self.track.values["mean"], *self._images)]
        self.stops[:] = [event for event in self.stops if not voids(resumed, event)]

    def curves(self) -> list[PsnrCurve]:
        """The mean first, then that of the averaged outputs (image -2) if kept, then the images."""
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
        """The median step at which the images were stopped, with the mean of what they have there; once all were."""
        if not stops or len(stops) < len(self._images) or not all(math.isfinite(spot.value) for spot in stops):
            return None
        return StepValue(median_high(spot.step for spot in stops), fmean(spot.value for spot in stops))


def _peak(steps: array[float], values: array[float]) -> StepValue | None:
    finite = [index for index, value in enumerate(values) if math.isfinite(value)]
    best = max(finite, key=values.__getitem__, default=None)
    return None if best is None else StepValue(int(steps[best]), values[best])
