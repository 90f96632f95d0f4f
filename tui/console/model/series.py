"""The series of each run, built from its events as they arrive and ready to be drawn at any time.

If a run was resumed, the steps that it did again replace the earlier ones, as in `dipddpm.core.runs.history`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean, median_high
from typing import Any, NamedTuple

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.means import PsnrMean, psnr_mean
from dipddpm.core.runs import voids
from dipddpm.tui.console.model.curves import AXES, Axis, PsnrCurve, PsnrRecord, Series, Track

MAX_RECENT_EVENTS = 2000
"""Events kept for the feed."""
KEPT_SERIES = 16
"""Series kept in memory, of the runs watched last."""
_NOT_IN_FEED = (events.Step, events.PsnrMeasured, events.FitMeasured, events.CheckpointStored)
"""Event types that are too frequent for the feed; the curves show them."""


class ChartMark(NamedTuple):
    """A point marked on a chart."""

    x: float
    y: float
    kind: str = "best"


class CursorValues(NamedTuple):
    """The values at the time cursor's step."""

    step: int
    epoch: float
    seconds: float
    loss: float | None
    held_out: float | None
    psnr: PsnrMean | None
    residual: float | None


class RunSeries:
    """The curves, pictures and recent events of one run, built from the events passed to `feed`.

    Call `reset` before the log is read again from its first byte. `offset` is the number of bytes of the log already
    read; no other object stores this number.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop everything, as before the first event."""
        self.offset = 0
        self.started: events.RunStarted | None = None
        self.ended: events.RunFinished | events.RunFailed | events.RunStopped | None = None
        self.step = 0
        self.epoch = 0
        self.epochs: list[events.EpochFinished] = []
        self.restorations: list[events.RestorationScored | events.RestorationMissing] = []
        self.stage: events.StageStarted | None = None
        self.tile: events.TileRestored | None = None
        """The last tile of a given picture that is restored; None before the first one."""
        self.noise: list[events.NoiseEstimated] = []
        self.generation = getattr(self, "generation", -1) + 1
        """Incremented whenever events already drawn become void."""
        self.event_count = 0
        self._recent_events: deque[Event] = deque(maxlen=MAX_RECENT_EVENTS)
        self._losses = Track("loss")
        self._fits = Track("loss")
        self._rates = Track("lr", "images_per_second")
        self._epochs = Track("loss", "held_out", "lr", "images_per_second")
        self._psnr = PsnrRecord()
        self._misfits = Track("residual", "noise", "held_out")
        self._pictures: list[events.ImageSaved] = []
        self._work_started_at = 0.0
        self._last_epoch = (0, 0)  # the number of the last finished epoch, and its step
        self._epoch_length = 0.0
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.RunStarted: self._start,
            events.RunResumed: self._resume,
            events.Step: self._add_step,
            events.EpochFinished: self._add_epoch,
            events.PsnrMeasured: self._add_psnr,
            events.FitMeasured: self._add_misfit,
            events.EarlyStopped: self._psnr.stops.append,
            events.ImageSaved: self._pictures.append,
            events.StageStarted: self._begin_stage,
            events.TileRestored: partial(setattr, self, "tile"),
            events.NoiseEstimated: self.noise.append,
            events.RestorationScored: self.restorations.append,
            events.RestorationMissing: self.restorations.append,
            events.RunFinished: self._end,
            events.RunFailed: self._end,
            events.RunStopped: self._end,
        }

    def _begin_stage(self, event: events.StageStarted) -> None:
        self.stage, self.tile = event, None

    def feed(self, new_events: Iterable[Event]) -> None:
        """Add events, in the order of the log."""
        handler_for = self._handlers.get
        for event in new_events:
            if (handle := handler_for(type(event))) is not None:
                handle(event)
            if not isinstance(event, _NOT_IN_FEED):
                self._recent_events.append(event)
                self.event_count += 1

    # Curves and pictures

    def axes(self) -> tuple[Axis, ...]:
        """Return the x axes of this run; only a run that trains for epochs has an epoch axis."""
        return AXES if self.epochs or (self.started and self.started.epochs) else ("step", "time")

    def limit(self, axis: Axis) -> float | None:
        """Return the end of an axis: the last value if the run has ended, else the total that it announced, or None."""
        tracks = (self._losses, self._fits, self._epochs, self._psnr.track, self._misfits)
        ends = [track.x(axis)[-1] for track in tracks if len(track)]
        if self.ended is not None and ends:
            return max(ends)
        if self.started is None:
            return None
        total = {"step": self.started.steps, "epoch": self.started.epochs, "time": 0}[axis]
        return float(total) if total else None

    def loss(self, axis: Axis = "step", weight: float = 0.0) -> list[Series]:
        """Return the loss (with a `weight`, faint and also smoothed) and the held-out loss of each epoch."""
        track = next((track for track in (self._losses, self._fits) if len(track)), self._epochs)
        lines = []
        if len(track):
            x, raw = track.x(axis), track.values["loss"]
            if weight > 0 and len(track) > 1:
                lines.append(Series("loss", x, raw, 0, faint=True, marks_non_finite=True))
                lines.append(Series("smoothed", x, track.smoothed("loss", weight), 0))
            else:
                lines.append(Series("loss", x, raw, 0, marks_non_finite=True))
        held_out = self._epochs.values["held_out"]
        if any(map(math.isfinite, held_out)):
            lines.append(Series("held out", self._epochs.x(axis), held_out, 1))
        return lines

    def best_marks(self, axis: Axis = "step") -> list[ChartMark]:
        """Return a mark for each epoch whose model was stored as the best: `best` for the last one, else `was best`."""
        positions = self._epochs.x(axis)
        marks = [
            ChartMark(x, epoch.loss if epoch.held_out is None else epoch.held_out, "was best")
            for x, epoch in zip(positions, self.epochs, strict=True)
            if epoch.best
        ]
        return [*marks[:-1], marks[-1]._replace(kind="best")] if marks else []

    def rates(self, axis: Axis = "step") -> tuple[Series, Series]:
        """Return the learning rate and the throughput."""
        return self._rate("learning rate", "lr", axis, 2), self._rate("images/s", "images_per_second", axis, 3)

    def psnr(self) -> list[PsnrCurve]:
        """Return the PSNR curves: the mean (image -1), the averaged outputs (image -2) if measured, and each image."""
        return self._psnr.curves()

    def misfit(self) -> list[Series]:
        """Return the mean residual of fits without a truth, the noise level and the held-out error, as far as known."""
        labels = {"residual": "residual", "noise": "noise level", "held_out": "held-out error"}
        return [
            Series(label, self._misfits.x("step"), values, colour)
            for colour, (name, label) in enumerate(labels.items())
            if any(map(math.isfinite, values := self._misfits.values[name]))
        ]

    def misfit_marks(self) -> list[ChartMark]:
        """Return a mark at the images' median stop on the curve of the residual, once one has stopped."""
        if not len(self._misfits) or not self._psnr.stops:
            return []
        step = median_high(event.at for event in self._psnr.stops)
        return [ChartMark(step, self._misfits.values["residual"][max(0, self._misfits.row_at(step))], "stop")]

    def pictures(self) -> dict[str, list[events.ImageSaved]]:
        """Return the pictures by name, in the order of their steps; for a file written twice, the last event.

        `file` comes from the log and must not be trusted.
        """
        by_file = {event.file: event for event in self._pictures}
        pictures: dict[str, list[events.ImageSaved]] = {}
        for event in sorted(by_file.values(), key=lambda event: event.step):
            pictures.setdefault(event.name, []).append(event)
        return pictures

    def picture(self, name: str, step: int) -> events.ImageSaved | None:
        """Return the last picture of this name at or before a step, else the first one; None if there is none."""
        pictures = self.pictures().get(name, [])
        if not pictures:
            return None
        return pictures[max(0, bisect_right([picture.step for picture in pictures], step) - 1)]

    def recent_events(self, seen: int) -> list[Event]:
        """Return the events added since `event_count` was `seen`, at most the last `MAX_RECENT_EVENTS`."""
        missing = min(self.event_count - seen, len(self._recent_events))
        return list(self._recent_events)[len(self._recent_events) - missing :] if missing > 0 else []

    # The time cursor

    def steps(self) -> list[int]:
        """Return the steps at which a value was measured; the time cursor moves along them."""
        return [int(step) for step in self._timeline().x("step")]

    def next_step(self, step: int | None, by: int) -> int | None:
        """Return the time cursor's next step, a hundredth of all steps forward or back; None past the last step."""
        steps = self.steps()
        index = len(steps) if step is None or step not in steps else steps.index(step)
        index = max(0, index + max(1, len(steps) // 100) * by)
        return steps[index] if index < len(steps) else None

    def x_of(self, step: int, axis: Axis) -> float:
        """Return a step's position on an axis."""
        track = self._timeline()
        row = track.row_at(step)
        return track.x(axis)[row] if row >= 0 else 0.0

    def values_at(self, step: int) -> CursorValues:
        """Return the last values measured at or before a step."""
        return CursorValues(
            step,
            self.x_of(step, "epoch"),
            self.x_of(step, "time"),
            _value(self._losses if len(self._losses) else self._fits, "loss", step),
            _value(self._epochs, "held_out", step),
            self._psnr.mean_at(step),
            _value(self._misfits, "residual", step),
        )

    def _timeline(self) -> Track:
        """Return the track with the most rows; the time cursor moves along its steps."""
        return max((self._losses, self._psnr.track, self._misfits, self._epochs), key=len)

    # Handlers of events

    def _start(self, event: events.RunStarted) -> None:
        self.started, self.ended = event, None
        self._work_started_at = event.time
        self._epoch_length = event.steps / event.epochs if event.epochs and event.steps else 0.0

    def _end(self, event: events.RunFinished | events.RunFailed | events.RunStopped) -> None:
        self.ended = event
        self.step = max(self.step, event.step)

    def _add_row(
        self,
        track: Track,
        event: events.Step | events.EpochFinished | events.PsnrMeasured | events.FitMeasured,
        *values: float | None,
    ) -> None:
        self.step = max(self.step, event.step)
        epoch, at = self._last_epoch
        part = (event.step - at) / self._epoch_length if self._epoch_length else 0.0
        seconds = event.time - self._work_started_at
        track.append((event.step, epoch + min(max(part, 0.0), 1.0), seconds), event.offset, *values)

    def _add_step(self, event: events.Step) -> None:
        if event.loss is not None:
            self._add_row(self._losses, event, event.loss)
        if event.lr is not None or event.images_per_second is not None:
            self._add_row(self._rates, event, event.lr, event.images_per_second)
        self.step = max(self.step, event.step)

    def _add_epoch(self, event: events.EpochFinished) -> None:
        passed, at = event.epoch - self._last_epoch[0], event.step - self._last_epoch[1]
        if passed > 0 and at > 0:
            self._epoch_length = at / passed
        self._last_epoch = (event.epoch, event.step)
        self.epoch = event.epoch
        self.epochs.append(event)
        self._add_row(self._epochs, event, event.loss, event.held_out, event.lr, event.images_per_second)

    def _add_psnr(self, event: events.PsnrMeasured) -> None:
        if event.loss:
            self._add_row(self._fits, event, fmean(event.loss))
        mean = psnr_mean(event.psnr or [event.mean]).value
        self._add_row(self._psnr.track, event, mean, psnr_mean(event.averaged).value if event.averaged else None)
        self._psnr.add(event)

    def _add_misfit(self, event: events.FitMeasured) -> None:
        if event.loss:
            self._add_row(self._fits, event, fmean(event.loss))
        levels = [level for level in event.noise if level is not None]
        means = (fmean(values) if values else None for values in (event.residual, levels, event.held_out))
        self._add_row(self._misfits, event, *means)

    def _resume(self, event: events.RunResumed) -> None:
        self.generation += 1
        self.ended = None
        self.step = event.from_step
        for track in (self._losses, self._fits, self._rates, self._epochs, self._misfits, self._psnr):
            track.drop_voided(event)
        records: list[list[Any]] = [self.epochs, self.restorations, self._pictures]
        for record in records:
            record[:] = [past for past in record if not voids(event, past)]
        self._recent_events = deque(
            (past for past in self._recent_events if not isinstance(past, events.ENDS) and not voids(event, past)),
            maxlen=MAX_RECENT_EVENTS,
        )
        self.epoch = self.epochs[-1].epoch if self.epochs else 0
        self._last_epoch = (self.epoch, self.epochs[-1].step) if self.epochs else (0, 0)
        # The seconds of work continue from the last row; the time in which no worker ran doesn't count.
        tracks = (self._losses, self._psnr.track, self._misfits, self._epochs)
        work_seconds = max((track.x("time")[-1] for track in tracks if len(track)), default=0.0)
        self._work_started_at = event.time - work_seconds

    def _rate(self, label: str, name: str, axis: Axis, colour: int) -> Series:
        track = self._rates if any(map(math.isfinite, self._rates.values[name])) else self._epochs
        return Series(label, track.x(axis), track.values[name], colour)


def _value(track: Track, name: str, step: int) -> float | None:
    row = track.row_at(step)
    return track.values[name][row] if row >= 0 and math.isfinite(track.values[name][row]) else None


class SeriesStore:
    """The series of the runs watched last; calls `rewind` if a log must be read again from its first byte."""

    def __init__(self, rewind: Callable[[str], None], kept: int = KEPT_SERIES) -> None:
        self._rewind = rewind
        self._kept = kept
        self._series: OrderedDict[str, RunSeries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._series)

    def get(self, run: str) -> RunSeries | None:
        """Return the series of this run; None if it is not in memory."""
        return self._series.get(run)

    def watch(self, runs: Sequence[str]) -> None:
        """Keep the series of these runs in memory, and of the runs watched last as many as there is room for."""
        for run in runs:
            if run not in self._series:
                self._series[run] = RunSeries()
                self._rewind(run)  # the reader may be past the start, from an earlier watch
            self._series.move_to_end(run)
        while len(self._series) > max(self._kept, len(runs)):
            self._series.popitem(last=False)

    def add(self, run: str, start: int, end: int, events: Iterable[Event]) -> bool:
        """Add the events between two offsets of a log; return False unless they start where the series ends."""
        series = self._series.get(run)
        if series is None:
            return False
        if start == 0:
            series.reset()
        elif start != series.offset:
            self._rewind(run)
            return False
        series.feed(events)
        series.offset = end
        return True
