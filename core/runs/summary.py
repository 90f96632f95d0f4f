"""summary.json: the latest state of a run in a few words and numbers.

The summary is folded from the events, and can always be rebuilt from the log and config.toml. It holds everything that
a list of runs shows, so that listing thousands of runs parses neither logs nor configs.
"""

from __future__ import annotations

import enum
import math
import time
from pathlib import Path

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.events import Count, Event, Timestamp
from dipddpm.core.io import atomic, records
from dipddpm.core.means import PsnrMean, Quality, mean, psnr_mean, quality_mean
from dipddpm.core.runs import heartbeat
from dipddpm.core.runs.creation import CLOCK_SECONDS
from dipddpm.core.runs.log import EventReader, logical_history

SUMMARY_FILE = "summary.json"
CONFIG_FILE = "config.toml"
FORMAT = 3
"""Version of the fields of a summary; 2 had no checkpoint."""


class RunState(enum.StrEnum):
    """The state of a run."""

    queued = enum.auto()
    running = enum.auto()
    finished = enum.auto()
    stopped = enum.auto()
    failed = enum.auto()
    crashed = enum.auto()
    broken = enum.auto()
    """No config could be read when the run was first summarised."""

    @property
    def live(self) -> bool:
        """True if a process works on the run or waits to do so."""
        return self in {RunState.queued, RunState.running}

    @property
    def resumable(self) -> bool:
        """True if the run ended before its work was done."""
        return self in {RunState.stopped, RunState.failed, RunState.crashed}


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A summary of the log so far. `offset` is the number of bytes of events.jsonl that it covers."""

    format: int = 2
    """The version with which it was folded; it is missing in older files."""
    offset: Count = 0
    kind: str = ""
    """From config.toml, as are `method`, `name` and `group`; empty if the config can't be read."""
    method: str = ""
    name: str = ""
    group: str = ""
    phase: RunState = RunState.queued
    """The state at the end of the log; the log doesn't show whether the process still lives."""
    device: str = ""
    dataset: str = ""
    started: Timestamp = 0.0
    ended: Timestamp = 0.0
    last: Timestamp = 0.0
    step: Count = 0
    steps: Count = 0
    epoch: Count = 0
    epochs: Count = 0
    loss: float | None = None
    best_loss: float | None = None
    best_epoch: Count = 0
    best_file: str = ""
    checkpoint_step: Count = 0
    """Steps done at the last checkpoint, from which a resume continues."""
    checkpoint_epoch: Count = 0
    checkpoint_time: Timestamp = 0.0
    """When the last checkpoint was stored; 0 without one."""
    psnr: float | None = None
    """Mean PSNR in dB of the restorations at the last measurement; in a head-to-head, of its first hybrid."""
    exact: Count = 0
    """The number of exact images, which `psnr` leaves out unless all are exact; likewise for the other means."""
    gain: float | None = None
    """The smallest mean gain of the first hybrid in dB, over all cells so far."""
    against: str = ""
    """The yardstick of the gain; empty in older logs, whose gain is over the better of the plain baselines."""
    peak_psnr: float | None = None
    peak_exact: Count = 0
    peak_step: Count = 0
    stop_psnr: float | None = None
    """Mean PSNR in dB of the images at their stops."""
    stop_exact: Count = 0
    stop_step: Count = 0
    ssim: float | None = None
    """Mean SSIM of the restorations at their stops, or else at the last measurement."""
    images_per_second: float | None = None
    error: str = ""
    hint: str = ""
    stops: dict[Count, float] = {}
    """PSNR in dB at the stop, by image."""
    truthless: bool = False
    """True for given pictures whose truth is not known, from config.toml: nothing is measured against a truth."""
    quality: Quality | None = None
    """The measures that need no truth: means over the restorations, during a fit over the current ones."""
    held_out: float | None = None
    """Mean error at held-out measurements, a root mean square in 8-bit grey levels."""
    qualities: dict[Count, Quality] = {}
    """The measures of the final restorations that need no truth, by image."""

    @property
    def result_psnr(self) -> float | None:
        """Mean PSNR in dB of the images at their stops, or else at the last measurement."""
        return self.psnr if self.stop_psnr is None else self.stop_psnr

    @property
    def result(self) -> PsnrMean | None:
        """Mean PSNR of `result_psnr`, with the number of exact images; None if it wasn't measured."""
        exact = self.exact if self.stop_psnr is None else self.stop_exact
        return None if self.result_psnr is None else PsnrMean(exact, self.result_psnr)

    @property
    def progress(self) -> float | None:
        """The share of the work done, in [0, 1]; None while the total isn't known."""
        if self.phase is RunState.finished:
            return 1.0
        if not self.steps:
            return None
        return self.step / self.steps if 0 <= self.step < self.steps else 1.0

    @property
    def percent(self) -> int | None:
        """The share of the work done in whole percent, rounded down, so that 100 means all of it."""
        share = self.progress
        return None if share is None else math.floor(100 * share + 1e-9)

    def seconds_left(self, now: float | None = None) -> float | None:
        """Return the estimated seconds to the end at the pace so far; None if the pace isn't known."""
        share = self.progress
        if not self.started or not share or self.phase is not RunState.running:
            return None
        elapsed = max(0.0, (self.last or (time.time() if now is None else now)) - self.started)
        return elapsed * (1 - share) / share

    def fold(self, event: Event) -> None:
        """Update the summary with one event."""
        self.last = event.time or self.last
        self.step = max(self.step, getattr(event, "step", 0))
        match event:
            case events.RunQueued():
                self.phase, self.device = RunState.queued, event.device
            case events.RunStarted():
                self.phase, self.device, self.started = RunState.running, event.device, event.time
                self.epochs, self.steps = event.epochs, event.steps
            case events.RunResumed():
                self.phase, self.ended, self.error, self.hint = RunState.running, 0.0, "", ""
                self.step, self.epoch = event.from_step, event.from_epoch
                self.device = event.device or self.device
            case events.DataLoaded():
                self.dataset = event.dataset
            case events.Step():
                self.epoch = max(self.epoch, event.epoch - 1)
                self.images_per_second = event.images_per_second or self.images_per_second
            case events.EpochFinished():
                self.epoch, self.loss = event.epoch, event.loss
                self.images_per_second = event.images_per_second or self.images_per_second
            case events.BestModelStored():
                self.best_file = event.file
                if event.measure in {"loss", "held_out"}:
                    self.best_loss, self.best_epoch = event.value, event.epoch
            case events.CheckpointStored():
                self.checkpoint_step, self.checkpoint_epoch = event.step, event.epoch
                self.checkpoint_time = event.time
            case events.PsnrMeasured():
                self._measure(event)
            case events.EarlyStopped():
                self.stop_step = event.at
                if event.psnr is not None:
                    self.stops[event.image] = event.psnr
                    self.stop_exact, self.stop_psnr = psnr_mean(list(self.stops.values()))
            case events.RestorationsCompared():
                self.exact, self.psnr, self.gain, self.against = event.exact, event.psnr, event.gain, event.against
            case events.StopsCompared() if event.ssim:
                self.ssim = sum(event.ssim) / len(event.ssim)
            case events.FitMeasured() | events.QualityPredicted():
                self._note_quality(event)
            case events.RunFinished():
                self.phase, self.ended = RunState.finished, event.time
            case events.RunFailed():
                self.phase, self.ended, self.error, self.hint = RunState.failed, event.time, event.error, event.hint
            case events.RunStopped():
                self.phase, self.ended = RunState.stopped, event.time
            case _:
                pass

    def _note_quality(self, event: events.FitMeasured | events.QualityPredicted) -> None:
        if isinstance(event, events.QualityPredicted):
            self.method = f"auto: {event.method}" if self.method == "auto" else self.method
            values = event.residual, event.noise, event.predicted_psnr, event.lower, event.upper
            self.qualities[event.image] = Quality(*values)
            self.quality = quality_mean(list(self.qualities.values()))
            return
        levels = event.noise or [None]
        self.quality = quality_mean([Quality(mean(event.residual), level) for level in levels])
        self.held_out = mean(event.held_out) if event.held_out else self.held_out
        self.loss = mean(event.loss) if event.loss else self.loss

    def _measure(self, event: events.PsnrMeasured) -> None:
        # If outputs are averaged, the average is the restoration, so both stop and peak are measured on it.
        measured = psnr_mean(event.averaged or event.psnr or [event.mean])
        self.exact, self.psnr = measured
        if event.loss:
            self.loss = sum(event.loss) / len(event.loss)
        if event.ssim:
            self.ssim = sum(event.ssim) / len(event.ssim)
        if self.psnr > -math.inf and (self.peak_psnr is None or measured > (self.peak_exact, self.peak_psnr)):
            self.peak_exact, self.peak_psnr, self.peak_step = *measured, event.step


def write(folder: Path, summary: Summary) -> None:
    """Replace summary.json. The file isn't synced, because it can be rebuilt."""
    atomic.write_atomic(folder / SUMMARY_FILE, records.dump(summary), durable=False)


def read(folder: Path) -> Summary:
    """Return the summary of the whole log: summary.json plus the events written since."""
    stored = records.read(folder / SUMMARY_FILE, Summary)
    # A finished run has nothing to resume, so its older summary is complete.
    formats = {FORMAT, 2} if stored and stored.phase is RunState.finished else {FORMAT}
    summary = stored if stored and stored.format in formats and stored.kind else _from_config(folder)
    reader = EventReader(folder, summary.offset)
    fresh = reader.read()
    if reader.restarted or any(isinstance(event, events.RunResumed) for event in fresh):
        return rebuild(folder)
    for event in fresh:
        summary.fold(event)
    summary.offset = reader.offset
    return summary


def rebuild(folder: Path) -> Summary:
    """Rebuild the summary from config.toml and the log, which may be larger than memory."""
    summary = _from_config(folder)
    resumes = _resumes(folder)
    reader = EventReader(folder)
    resume_count = 0
    for event in logical_history(reader.stream(), resumes):
        summary.fold(event)
        resume_count += isinstance(event, events.RunResumed)
    summary.offset = reader.offset
    # A resume that was logged meanwhile has voided events that are already folded.
    return summary if resume_count == len(resumes) else rebuild(folder)


def _resumes(folder: Path) -> list[events.RunResumed]:
    """Return the resumes in the log; this is fast, because other lines aren't decoded."""
    events_read = EventReader(folder, containing=b'"run_resumed"').stream()
    return [event for event in events_read if isinstance(event, events.RunResumed)]


def _from_config(folder: Path) -> Summary:
    """Return the summary of a run without events."""
    try:
        config = configs.load(folder / CONFIG_FILE)
    except UserError:
        return Summary(format=FORMAT)
    images = getattr(config, "images", None)
    truthless = isinstance(images, configs.ImagesConfig) and bool(images.given) and not images.truth
    words = {key: getattr(config, key) for key in ("kind", "method", "name", "group")}
    return Summary(format=FORMAT, truthless=truthless, **words)


def state(summary: Summary, worker: heartbeat.Worker | None, created: float, now: float | None = None) -> RunState:
    """Return the run's state: by an end in the log, else by the worker's process, else by its last sign of life.

    `created` is the creation time of the run, in seconds since 1970: a new run may not have a worker.json yet.
    """
    if not summary.kind:
        return RunState.broken
    if not summary.phase.live:
        return summary.phase
    if worker is None:
        age = (time.time() if now is None else now) - created
        is_new = -CLOCK_SECONDS < age < heartbeat.SILENT_SECONDS
        return RunState.queued if is_new and not summary.last else RunState.crashed
    return summary.phase if heartbeat.is_alive(worker, now) else RunState.crashed
