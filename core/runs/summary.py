"""The latest state of a run in a few words and numbers: summary.json.

Folded from the events, and always rebuildable from them and config.toml. It holds all that a list of runs shows, so
that listing thousands of them parses neither logs nor configs.
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
from dipddpm.core.runs import heartbeat
from dipddpm.core.runs.log import EventReader, logical_history

SUMMARY_FILE = "summary.json"
CONFIG_FILE = "config.toml"
FORMAT = 2


class RunState(enum.StrEnum):
    """Where a run stands."""

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
        """A process is at it, or waits to be."""
        return self in {RunState.queued, RunState.running}

    @property
    def resumable(self) -> bool:
        """It has ended before its work was done."""
        return self in {RunState.stopped, RunState.failed, RunState.crashed}


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the log says so far. `offset` is how many bytes of events.jsonl it covers."""

    format: int = FORMAT
    offset: Count = 0
    kind: str = ""
    """As config.toml has it, and so are method, name and group; empty where no config can be read."""
    method: str = ""
    name: str = ""
    group: str = ""
    phase: RunState = RunState.queued
    """Where the log leaves the run; whether its process lives is not the log's to say."""
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
    psnr: float | None = None
    """Mean PSNR in dB of the restorations at the last look; of a head-to-head that of its first hybrid."""
    gain: float | None = None
    """What this hybrid has over the better parent in as long, in dB, on the mean of all cells so far."""
    peak_psnr: float | None = None
    peak_step: Count = 0
    stop_psnr: float | None = None
    """Mean PSNR of the images where the stopping rule left them."""
    stop_step: Count = 0
    ssim: float | None = None
    """Mean SSIM of the restorations where the stopping rule left them, else at the last look."""
    images_per_second: float | None = None
    error: str = ""
    hint: str = ""
    stops: dict[Count, float] = {}

    @property
    def result_psnr(self) -> float | None:
        """Mean PSNR in dB where the stopping rule left the images, else at the last look."""
        return self.psnr if self.stop_psnr is None else self.stop_psnr

    @property
    def progress(self) -> float | None:
        """Share of the work done, 0 to 1; None while the total isn't known."""
        if self.phase is RunState.finished:
            return 1.0
        if not self.steps:
            return None
        return self.step / self.steps if 0 <= self.step < self.steps else 1.0

    def seconds_left(self, now: float | None = None) -> float | None:
        """Time to the end at the pace so far; None before there is a pace."""
        share = self.progress
        if not self.started or not share or self.phase is not RunState.running:
            return None
        elapsed = max(0.0, (self.last or (time.time() if now is None else now)) - self.started)
        return elapsed * (1 - share) / share

    def fold(self, event: Event) -> None:
        """Take one more event into account."""
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
            case events.PsnrMeasured():
                self._measure(event)
            case events.EarlyStopped():
                self.stop_step = event.at
                if event.psnr is not None:
                    self.stops[event.image] = event.psnr
                    self.stop_psnr = sum(self.stops.values()) / len(self.stops)
            case events.RestorationsCompared():
                self.psnr, self.gain = event.psnr, event.gain
            case events.StopsCompared() if event.ssim:
                self.ssim = sum(event.ssim) / len(event.ssim)
            case events.RunFinished():
                self.phase, self.ended = RunState.finished, event.time
            case events.RunFailed():
                self.phase, self.ended, self.error, self.hint = RunState.failed, event.time, event.error, event.hint
            case events.RunStopped():
                self.phase, self.ended = RunState.stopped, event.time
            case _:
                pass

    def _measure(self, event: events.PsnrMeasured) -> None:
        # Where outputs are averaged, their average is the restoration: the stop is of it, so the peak must be too.
        self.psnr = sum(event.averaged) / len(event.averaged) if event.averaged else event.mean
        if event.loss:
            self.loss = sum(event.loss) / len(event.loss)
        if event.ssim:
            self.ssim = sum(event.ssim) / len(event.ssim)
        if math.isfinite(self.psnr) and (self.peak_psnr is None or self.psnr > self.peak_psnr):
            self.peak_psnr, self.peak_step = self.psnr, event.step


def write(folder: Path, summary: Summary) -> None:
    """Replace summary.json. Not synced: it can be rebuilt."""
    atomic.write_atomic(folder / SUMMARY_FILE, records.dump(summary), durable=False)


def read(folder: Path) -> Summary:
    """The summary as the log stands now: what summary.json covers, and the events written since."""
    stored = records.read(folder / SUMMARY_FILE, Summary)
    summary = stored if stored and stored.format == FORMAT and stored.kind else _from_config(folder)
    reader = EventReader(folder, summary.offset)
    fresh = reader.read()
    if reader.restarted or any(isinstance(event, events.RunResumed) for event in fresh):
        return rebuild(folder)
    for event in fresh:
        summary.fold(event)
    summary.offset = reader.offset
    return summary


def rebuild(folder: Path) -> Summary:
    """The summary from config.toml and the log alone, which may be longer than fits into memory."""
    summary = _from_config(folder)
    resumes = _resumes(folder)
    reader = EventReader(folder)
    resumes_seen = 0
    for event in logical_history(reader.stream(), resumes):
        summary.fold(event)
        resumes_seen += isinstance(event, events.RunResumed)
    summary.offset = reader.offset
    # One that was written meanwhile has made void what was folded before it.
    return summary if resumes_seen == len(resumes) else rebuild(folder)


def _resumes(folder: Path) -> list[events.RunResumed]:
    """Those that the log tells of; quick, as other lines are not decoded."""
    events_read = EventReader(folder, containing=b'"run_resumed"').stream()
    return [event for event in events_read if isinstance(event, events.RunResumed)]


def _from_config(folder: Path) -> Summary:
    """A summary of what was asked, before anything happened."""
    try:
        config = configs.load(folder / CONFIG_FILE)
    except UserError:
        return Summary()
    return Summary(kind=config.kind, method=config.method, name=config.name, group=config.group)


def state(summary: Summary, worker: heartbeat.Worker | None, created: float, now: float | None = None) -> RunState:
    """An end that the log tells; else the process named in worker.json; else the age of its last sign of life.

    `created` is when the run was asked for: for a moment after that, no worker has shown itself yet.
    """
    if not summary.kind:
        return RunState.broken
    if not summary.phase.live:
        return summary.phase
    if worker is None:
        age = (time.time() if now is None else now) - created
        return RunState.queued if abs(age) < heartbeat.SILENT_SECONDS and not summary.last else RunState.crashed
    return summary.phase if heartbeat.is_alive(worker, now) else RunState.crashed
