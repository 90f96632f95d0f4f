"""Follow a run from the shell until it ends: a progress bar on a terminal, plain lines in a pipe, events as JSON."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.io.sanitize import printable, printable_json
from dipddpm.core.launch import local
from dipddpm.core.runs import LOG_FILE, EventReader, Run, RunState, RunStatus, heartbeat, history
from dipddpm.tui.shared.board import scoreboard_lines
from dipddpm.tui.shared.formatting import event_line, format_duration

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130
POLL_SECONDS = 0.2
STATUS_SECONDS = 1.0


class Sink(Protocol):
    """Where followed events go."""

    def show(self, event: Event) -> None:
        """Take one event."""
        ...

    def progress(self, run: Run) -> None:
        """Show where the run stands, about once a second."""
        ...


class JsonSink:
    """The events themselves, a JSON object a line."""

    def show(self, event: Event) -> None:
        """Write the line as it stands in the log."""
        sys.stdout.write(printable_json(events.encode(event).decode()))
        sys.stdout.flush()

    def progress(self, run: Run) -> None:
        """Nothing: the events say it."""


class PlainSink:
    """A line of text for each event that is worth one."""

    def show(self, event: Event) -> None:
        """Print the line."""
        if (text := event_line(event)) is not None:
            print(text, flush=True)

    def progress(self, run: Run) -> None:
        """Nothing: a pipe gets lines only."""


class BarSink:
    """Lines that scroll above a progress bar with the time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=1.0, left="")

    def show(self, event: Event) -> None:
        """Print the line above the bar."""
        if (text := event_line(event)) is not None:
            self._bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def progress(self, run: Run) -> None:
        """Move the bar."""
        status = run.status()
        summary = status.summary
        seconds_left = summary.seconds_left(status.at)
        position = (
            f"epoch {min(summary.epoch + 1, summary.epochs)}/{summary.epochs}"
            if summary.epochs
            else f"step {summary.step}"
        )
        if not status.state.live or status.state is RunState.queued:
            position = str(status.state)
        self._bar.update(
            self._task,
            completed=summary.progress or 0.0,
            description=position,
            left="" if seconds_left is None else f"{format_duration(seconds_left)} left",
        )


def follow(run: Run, *, as_json: bool = False, stop_on_interrupt: bool = False) -> int:
    """Show a run's events from its beginning until it ends; the exit code that its end deserves.

    With `stop_on_interrupt`, Ctrl-C asks the run to stop and its end is awaited; a second one only leaves. Without,
    Ctrl-C just leaves, and the run goes on.
    """
    stop_requested = False
    checked_at = 0.0
    with _sink(as_json) as sink, _Interrupts() as interrupts:
        for event in _iterate_events(run):
            if event is not None:
                sink.show(event)
            if time.monotonic() - checked_at >= STATUS_SECONDS:
                sink.progress(run)
                checked_at = time.monotonic()  # after it: where a look takes long, the events go first
            if interrupts.count > stop_requested:
                if stop_requested or not stop_on_interrupt:
                    return INTERRUPTED
                stop_requested = True
                _request_stop(run)
        sink.progress(run)
    status = run.status()
    if status.state is RunState.finished and not as_json:
        print("".join(f"{text}\n" for text in scoreboard_lines(run)), end="")
    if status.state is RunState.broken:
        print(f"{printable(run.id)} can't be followed: {printable(status.trouble)}", file=sys.stderr)
    if status.state is RunState.crashed:
        print(
            f"The worker of {printable(run.id)} is gone without a word. {status.hint} Its last lines may be in "
            f"{printable(str(run.folder / LOG_FILE))}; go on with: dipddpm resume {printable(run.id)}",
            file=sys.stderr,
        )
    return INTERRUPTED if stop_requested else exit_code(status.state)


def exit_code(state: RunState) -> int:
    """0 for a run that is done or still going, 1 for one that failed, 130 for one that was stopped."""
    return {RunState.finished: 0, RunState.stopped: INTERRUPTED}.get(state, 0 if state.live else 1)


class _Interrupts:
    """Counts the Ctrl-Cs, so that none cuts a line in two or loses an event on its way to the screen."""

    count = 0

    def __enter__(self) -> _Interrupts:
        self._previous_handler = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous_handler)

    def _note(self, *_: object) -> None:
        self.count += 1


def _request_stop(run: Run) -> None:
    print("Stopping after this step. Ctrl-C again leaves it to end by itself.", file=sys.stderr)
    with contextlib.suppress(UserError):  # it has just ended
        local.request_stop(run)


def _iterate_events(run: Run) -> Iterator[Event | None]:
    """Events as they are written; None now and then while there are none. Ends when the run has ended.

    What stands there already is told as the run's one history: what was resumed from a checkpoint, once.
    """
    reader = EventReader(run.folder)
    new_events = history(reader.read())
    checked_at = 0.0
    while True:
        yield from new_events
        if new_events:
            checked_at = 0.0
        elif time.monotonic() - checked_at >= STATUS_SECONDS:
            checked_at = time.monotonic()
            if _is_over(run.status()):
                # The end may have been written between the last read and the look.
                yield from reader.read()
                return
        yield None
        time.sleep(POLL_SECONDS)
        new_events = reader.read()


def _is_over(status: RunStatus) -> bool:
    """Whether no more events will come. A worker that has just been started has not yet voided the end before."""
    return not status.state.live and not (status.worker and heartbeat.runs_here(status.worker.identity))


def _sink(as_json: bool) -> AbstractContextManager[Sink]:
    if as_json:
        return nullcontext(JsonSink())
    if not sys.stderr.isatty() or not sys.stdout.isatty():
        return nullcontext(PlainSink())
    return _ProgressBar()


class _ProgressBar:
    """rich is loaded for a terminal only."""

    def __enter__(self) -> Sink:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            refresh_per_second=4,
            expand=True,
        )
        self._progress.start()
        return BarSink(self._progress)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
