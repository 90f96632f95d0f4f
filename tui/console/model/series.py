"""Runs as series: each is fed with its events as they come, and is ready at any moment to be drawn.

What a resumed run did again supersedes what stood before, as in `dipddpm.core.runs.history`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.runs import voids
from dipddpm.tui.console.model.curves import AXES, Axis, PsnrCurve, PsnrRecord, Series, Track

MAX_RECENT_EVENTS = 2000
"""So many happenings are kept for the feed."""
KEPT_SERIES = 16
"""So many runs that were looked at stay in memory."""
_NOT_IN_FEED = (events.Step, events.PsnrMeasured, events.CheckpointStored)
"""Too many for a feed; the curves show them."""


class ChartMark(NamedTuple):
    """A point to be marked on a chart."""

    x: float
    y: float
    kind: str = "best"


class CursorValues(NamedTuple):
    """What the curves say at one step: the time cursor's read-out."""

    step: int
    epoch: float
    seconds: float
    loss: float | None
    held_out: float | None
    psnr: float | None


class RunSeries:
    """The model of one run. `feed` it with what an `EventReader` hands out; after a restart of the reader, `reset`.

    `offset` says how far the run's log has been read into it. No other object keeps that number.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.offset = 0
        self.started: events.RunStarted | None = None
        self.ended: events.RunFinished | events.RunFailed | events.RunStopped | None = None
        self.step = 0
        self.epoch = 0
        self.epochs: list[events.EpochFinished] = []
        self.restorations: list[events.RestorationScored | events.RestorationMissing] = []
        self.generation = getattr(self, "generation", -1) + 1
        """Counts the times that something drawn before ceased to be true."""
        self.event_count = 0
        self._recent_events: deque[Event] = deque(maxlen=MAX_RECENT_EVENTS)
        self._losses = Track("loss")
        self._fits = Track("loss")
        self._rates = Track("lr", "images_per_second")
        self._epochs = Track("loss", "held_out", "lr", "images_per_second")
        self._psnr = PsnrRecord()
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
            events.EarlyStopped: self._psnr.stops.append,
            events.ImageSaved: self._pictures.append,
            events.RestorationScored: self.restorations.append,
            events.RestorationMissing: self.restorations.append,
            events.RunFinished: self._end,
            events.RunFailed: self._end,
            events.RunStopped: self._end,
        }

    def feed(self, new_events: Iterable[Event]) -> None:
        """Take in events."""
        handler_for = self._handlers.get
        for event in new_events:
            if (handle := handler_for(type(event))) is not None:
                handle(event)
            if not isinstance(event, _NOT_IN_FEED):
                self._recent_events.append(event)
                self.event_count += 1

    # What is drawn

    def axes(self) -> tuple[Axis, ...]:
        """The x axes that this run has: one that trains no epochs has no epoch axis."""
        return AXES if self.epochs or (self.started and self.started.epochs) else ("step", "time")

    def limit(self, axis: Axis) -> float | None:
        """Where the axis ends: for a run that has ended where that is, else where it said that it would, if it did."""
        ends = [track.x(axis)[-1] for track in (self._losses, self._fits, self._epochs, self._psnr.track) if len(track)]
        if self.ended is not None and ends:
            return max(ends)
        if self.started is None:
            return None
        total = {"step": self.started.steps, "epoch": self.started.epochs, "time": 0}[axis]
        return float(total) if total else None

    def loss(self, axis: Axis = "step", weight: float = 0.0) -> list[Series]:
        """The loss: as it was (faint) and smoothed, or just as it was; and the held-out loss of each epoch."""
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
        """The epochs whose model was stored as the best; the last one is of kind `best`, the others `was best`."""
        where = self._epochs.x(axis)
        marks = [
            ChartMark(x, epoch.loss if epoch.held_out is None else epoch.held_out, "was best")
            for x, epoch in zip(where, self.epochs, strict=True)
            if epoch.best
        ]
        return [*marks[:-1], marks[-1]._replace(kind="best")] if marks else []

    def rates(self, axis: Axis = "step") -> tuple[Series, Series]:
        """The learning rate and the throughput."""
        return self._rate("learning rate", "lr", axis, 2), self._rate("images/s", "images_per_second", axis, 3)

    def psnr(self) -> list[PsnrCurve]:
        """PSNR against the step: the mean first, then that of the averaged outputs (image -2) if kept, then images."""
        return self._psnr.curves()

    def pictures(self) -> dict[str, list[events.ImageSaved]]:
        """The pictures by name, in the order of their steps; of a file written again, the last time counts.

        Their `file` is what the log says and not to be trusted.
        """
        by_file = {event.file: event for event in self._pictures}
        pictures: dict[str, list[events.ImageSaved]] = {}
        for event in sorted(by_file.values(), key=lambda event: event.step):
            pictures.setdefault(event.name, []).append(event)
        return pictures

    def picture(self, name: str, step: int) -> events.ImageSaved | None:
        """The picture of a name as it was at a step: the last one before, else the first one."""
        pictures = self.pictures().get(name, [])
        if not pictures:
            return None
        return pictures[max(0, bisect_right([picture.step for picture in pictures], step) - 1)]

    def recent_events(self, seen: int) -> list[Event]:
        """What happened since `event_count` was `seen`, as far as it is kept."""
        missing = min(self.event_count - seen, len(self._recent_events))
        return list(self._recent_events)[len(self._recent_events) - missing :] if missing > 0 else []

    # The time cursor

    def steps(self) -> list[int]:
        """The steps at which something was measured, for a cursor to walk along."""
        return [int(step) for step in self._timeline().x("step")]

    def next_step(self, step: int | None, by: int) -> int | None:
        """The step that a time cursor moves to, a hundredth of the way forward or back; None past the last one."""
        steps = self.steps()
        index = len(steps) if step is None or step not in steps else steps.index(step)
        index = max(0, index + max(1, len(steps) // 100) * by)
        return steps[index] if index < len(steps) else None

    def x_of(self, step: int, axis: Axis) -> float:
        """Where a step lies on an axis."""
        track = self._timeline()
        row = track.row_at(step)
        return track.x(axis)[row] if row >= 0 else 0.0

    def values_at(self, step: int) -> CursorValues:
        """What was last known at a step."""
        return CursorValues(
            step,
            self.x_of(step, "epoch"),
            self.x_of(step, "time"),
            _value(self._losses if len(self._losses) else self._fits, "loss", step),
            _value(self._epochs, "held_out", step),
            _value(self._psnr.track, "mean", step),
        )

    def _timeline(self) -> Track:
        """The track that tells most: the cursor walks along it."""
        return max((self._losses, self._psnr.track, self._epochs), key=len)

    # Taking events in

    def _start(self, event: events.RunStarted) -> None:
        self.started, self.ended = event, None
        self._work_started_at = event.time
        self._epoch_length = event.steps / event.epochs if event.epochs and event.steps else 0.0

    def _end(self, event: events.RunFinished | events.RunFailed | events.RunStopped) -> None:
        self.ended = event
        self.step = max(self.step, event.step)

    def _add_row(
        self, track: Track, event: events.Step | events.EpochFinished | events.PsnrMeasured, *values: float | None
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
        self._add_row(self._psnr.track, event, event.mean, fmean(event.averaged) if event.averaged else None)
        self._psnr.add(event)

    def _resume(self, event: events.RunResumed) -> None:
        self.generation += 1
        self.ended = None
        self.step = event.from_step
        for track in (self._losses, self._fits, self._rates, self._epochs, self._psnr):
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
        # Seconds of work go on from where they stood; the time in which nobody worked is not counted.
        tracks = (self._losses, self._psnr.track, self._epochs)
        work_seconds = max((track.x("time")[-1] for track in tracks if len(track)), default=0.0)
        self._work_started_at = event.time - work_seconds

    def _rate(self, label: str, name: str, axis: Axis, colour: int) -> Series:
        track = self._rates if any(map(math.isfinite, self._rates.values[name])) else self._epochs
        return Series(label, track.x(axis), track.values[name], colour)


def _value(track: Track, name: str, step: int) -> float | None:
    row = track.row_at(step)
    return track.values[name][row] if row >= 0 and math.isfinite(track.values[name][row]) else None


class SeriesStore:
    """Holds the series, and calls `rewind` for a log that has to be read from its first byte."""

    def __init__(self, rewind: Callable[[str], None], kept: int = KEPT_SERIES) -> None:
        self._rewind = rewind
        self._kept = kept
        self._series: OrderedDict[str, RunSeries] = OrderedDict()

    def __len__(self) -> int:
        return len(self._series)

    def get(self, run: str) -> RunSeries | None:
        """The series of this run; None for a run that was not watched lately."""
        return self._series.get(run)

    def watch(self, runs: Sequence[str]) -> None:
        """Hold these runs, and as many as there is room for of those that were watched last."""
        for run in runs:
            if run not in self._series:
                self._series[run] = RunSeries()
                self._rewind(run)  # the reader may be further on, from when the run was watched before
            self._series.move_to_end(run)
        while len(self._series) > max(self._kept, len(runs)):
            self._series.popitem(last=False)

    def add(self, run: str, start: int, end: int, events: Iterable[Event]) -> bool:
        """Take in the events between two bytes of a log; whether they belonged where the series ends."""
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
