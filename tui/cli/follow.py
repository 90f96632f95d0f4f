"""Follow a run from the shell until it ends: a progress bar on a terminal, plain lines in a pipe, events as JSON."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    CheckpointStored,
    EarlyStopped,
    Event,
    FitMeasured,
    ImageSaved,
    PsnrMeasured,
    RestorationScored,
    RestoredSaved,
    RunResumed,
    RunStarted,
    StageStarted,
    Step,
    TileRestored,
)
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import local
from dipddpm.core.means import decibels, mean, psnr_mean
from dipddpm.core.runs import LOG_FILE, EventReader, Run, RunState, history
from dipddpm.tui.cli.output import json_text
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.formatting import event_line, resume_point, stage_name, summary_lines
from dipddpm.tui.shared.streams import end_with_reader

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130
REFUSED = 2
POLL_SECONDS = 0.2
STATUS_SECONDS = 1.0


class Past:
    """The events of a run before it is resumed, which are not printed again afterwards."""

    def __init__(self, run: Run) -> None:
        self.reader = EventReader(run.folder)
        self.events = history(self.reader.read())


def follow(run: Run, *, as_json: bool = False, stop_on_interrupt: bool = False, past: Past | None = None) -> int:
    """Print a run's events from its beginning, or those after `past`, until it ends; return the exit code of its state.

    The code is `REFUSED` for a run that fails before it goes on after `past`, as on other data than before.
    With `stop_on_interrupt`, the first Ctrl-C asks the run to stop and waits for its end, and a second Ctrl-C returns
    without waiting. Otherwise Ctrl-C returns, and the run continues.
    """
    end_with_reader()
    stop_requested = is_resumed = False
    checked_at = 0.0
    lines = EventLines()
    reader = past.reader if past else EventReader(run.folder)
    lines.skip(past.events if past else [])
    start = reader.offset
    with _progress_bar(as_json) as bar, _interrupts() as interrupts:
        for event in _iterate_events(run, reader):
            if event is not None:
                is_resumed |= isinstance(event, RunStarted | RunResumed)
                for text in [_as_json(event)] if as_json else lines(event):
                    _print(text, bar)
            if bar and time.monotonic() - checked_at >= STATUS_SECONDS:
                _update(bar, run, lines.stage)
                checked_at = time.monotonic()  # set afterwards: if reading the status is slow, events go first
            if len(interrupts) > stop_requested:
                if stop_requested or not stop_on_interrupt:
                    return INTERRUPTED
                stop_requested = True
                print(
                    "The run stops after its current step. Press Ctrl-C again to return without waiting.",
                    file=sys.stderr,
                )
                with contextlib.suppress(UserError):  # the run has just ended
                    local.request_stop(run)
        if bar:
            _update(bar, run, lines.stage)
    status = run.status()
    if past and reader.offset == start:
        status = replace(status, state=RunState.crashed)  # the worker ended before it logged anything
    refused = past is not None and not is_resumed and status.state is RunState.failed
    if status.state is RunState.finished and not as_json:
        print("".join(f"{text}\n" for text in summary_lines(run)), end="")
    if status.state is RunState.broken:
        print(f"{printable(run.id)} can't be followed: {printable(status.trouble)}", file=sys.stderr)
    if status.state is RunState.crashed:
        print(f"The worker of {printable(run.id)} ended without logging why. {status.hint}", file=sys.stderr)
    if status.state is RunState.crashed or (status.state is RunState.stopped and not as_json):
        if point := resume_point(status):
            print(f"It {point}.", file=sys.stderr)
        print(f"Resume it with: dipddpm resume {printable(run.id)}", file=sys.stderr)
    if status.state is RunState.crashed:
        print(f"Its last output may be in {printable(str(run.folder / LOG_FILE))}", file=sys.stderr)
    return INTERRUPTED if stop_requested else REFUSED if refused else exit_code(status.state)


def exit_code(state: RunState) -> int:
    """Return 0 for a finished or live run, 1 for a failed, crashed or broken run, 130 for a stopped run."""
    return {RunState.finished: 0, RunState.stopped: INTERRUPTED}.get(state, 0 if state.live else 1)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect Ctrl-C signals in a list, so that a signal neither splits a line nor loses an event."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield caught
        return
    previous_handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def _iterate_events(run: Run, reader: EventReader) -> Iterator[Event | None]:
    """Yield the history that is unread, then each new event, and None at every poll; return once the run has ended."""
    start = reader.offset
    new_events = history(reader.read())
    checked_at = 0.0
    while True:
        yield from new_events
        if new_events:
            checked_at = 0.0
        elif time.monotonic() - checked_at >= STATUS_SECONDS:
            checked_at = time.monotonic()
            status = run.status()
            # A resumed worker that has just started has not yet logged anything after the end of the run before.
            is_starting = reader.offset == start and bool(local.find_process(run))
            if not status.state.live and not is_starting:
                # The end event may have been written between the last read and this status.
                yield from reader.read()
                return
        yield None
        time.sleep(POLL_SECONDS)
        new_events = reader.read()


@contextlib.contextmanager
def _progress_bar(as_json: bool) -> Iterator[Progress | None]:
    """Yield a progress bar on a terminal; in a pipe yield None, without loading rich."""
    if as_json or not sys.stderr.isatty() or not sys.stdout.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
        refresh_per_second=4,
        expand=True,
    ) as bar:
        bar.add_task("starting", total=1.0, left="")
        yield bar


class EventLines:
    """Turns a run's events into lines for people.

    A stage gets one line, with its last measurement, when it ends; a method without stages gets one for each tenth of
    the run. Frequent events (steps, checkpoints, numbered pictures, the stops of single images) get no line. The
    restored images get none either, since the last line says where they lie.
    """

    def __init__(self) -> None:
        self.stage = ""
        """The number and title of the current stage; empty for a method without stages."""
        self._is_new = False
        """True until the current stage has its line."""
        self._steps = 0
        self._measured: PsnrMeasured | FitMeasured | None = None
        """The last measurement of the images that has no line yet."""

    def skip(self, past: Iterable[Event]) -> None:
        """Take note of events that were printed before."""
        for event in past:
            self(event)
        self._stage_lines()

    def __call__(self, event: Event) -> list[str]:
        """Return the lines to print after this event."""
        match event:
            case Step() | CheckpointStored() | EarlyStopped() | RestoredSaved():
                return []
            case ImageSaved() if event.file.endswith(f"-{event.step:06d}.png"):
                return []
            case TileRestored() if 10 * event.tile // event.tiles == 10 * (event.tile - 1) // event.tiles:
                return []
            case PsnrMeasured() | FitMeasured():
                last = self._measured
                is_due = not self.stage and last is not None and self._tenth(event) > self._tenth(last)
                due = self._stage_lines() if is_due else []
                self._measured = event
                return due
            case StageStarted():
                due = self._stage_lines()
                self.stage, self._is_new = printable(stage_name(event)), True
                return due
            case RunStarted():
                self._steps = event.steps
            case _:
                pass
        text = event_line(event)
        due = self._stage_lines() if text else []
        if isinstance(event, RestorationScored):
            self.stage = ""
        return [*due, text] if text else []

    def _tenth(self, event: PsnrMeasured | FitMeasured) -> int:
        return 10 * (event.step - 1) // max(1, self._steps)

    def _stage_lines(self) -> list[str]:
        """Return the line of the current stage with its last measurement, unless it has been printed."""
        last, self._measured = self._measured, None
        is_new, self._is_new = self._is_new, False
        if last is None:
            return [self.stage] if is_new else []
        if self.stage:
            value = f"residual {mean(last.residual):.1f} grey levels" if isinstance(last, FitMeasured) else _psnr(last)
            return [f"{self.stage}, {value}"]
        return [text] if (text := event_line(last)) else []


def _psnr(event: PsnrMeasured) -> str:
    return f"PSNR {decibels(psnr_mean(event.psnr or [event.mean]))}"


def _as_json(event: Event) -> str:
    """Return the event as in the log, with control characters escaped."""
    return json_text(events.encode(event)).rstrip("\n")


def _print(text: str, bar: Progress | None) -> None:
    """Print a line, above the bar if there is one."""
    if bar:
        bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
    else:
        print(text, flush=True)


def _update(bar: Progress, run: Run, stage: str) -> None:
    """Move the bar to the run's progress."""
    status = run.status()
    summary = status.summary
    seconds_left = summary.seconds_left(status.at)
    if not status.state.live or status.state is RunState.queued:
        position = str(status.state)
    elif summary.epochs:
        position = f"epoch {min(summary.epoch + 1, summary.epochs)}/{summary.epochs}"
    else:
        position = stage or f"step {summary.step}"
    left = "" if seconds_left is None else f"{format_duration(seconds_left)} left"
    bar.update(bar.task_ids[0], completed=summary.progress or 0.0, description=position, left=left)
