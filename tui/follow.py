"""Follow a run from the shell until it ends: a progress bar on a terminal, plain lines in a pipe, events as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from core import events, launch
from core.errors import UserError
from core.events import AnyEvent
from core.runs import EventReader, Glance, Run, State
from tui.lines import duration, line

if TYPE_CHECKING:
    from rich.progress import Progress

POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0


class Sink(Protocol):
    """Where followed events go."""

    def show(self, event: AnyEvent) -> None:
        """Take one event."""
        ...

    def progress(self, glance: Glance) -> None:
        """Take the run's state, about once a second."""
        ...


class JsonSink:
    """The events themselves, a JSON object a line."""

    def show(self, event: AnyEvent) -> None:
        """Write the line as it stands in the log."""
        sys.stdout.write(events.encode(event).decode())
        sys.stdout.flush()

    def progress(self, glance: Glance) -> None:
        """Nothing: the events say it."""


class PlainSink:
    """A line of text for each event that is worth one."""

    def show(self, event: AnyEvent) -> None:
        """Print the line."""
        if (text := line(event)) is not None:
            print(text, flush=True)

    def progress(self, glance: Glance) -> None:
        """Nothing: a pipe gets lines only."""


class BarSink:
    """Lines that scroll above a progress bar with the time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=1.0, left="")

    def show(self, event: AnyEvent) -> None:
        """Print the line above the bar."""
        if (text := line(event)) is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, glance: Glance) -> None:
        """Move the bar."""
        told = glance.summary
        left = told.seconds_left(glance.at)
        where = f"epoch {min(told.epoch + 1, told.epochs)}/{told.epochs}" if told.epochs else f"step {told.step}"
        if not glance.state.live or glance.state is State.queued:
            where = str(glance.state)
        self._bar.update(
            self._task,
            completed=told.progress or 0.0,
            description=where,
            left="" if left is None else f"{duration(left)} left",
        )


def follow(run: Run, *, as_json: bool = False, stop_on_interrupt: bool = False) -> int:
    """Show a run's events from its beginning until it ends; the exit code that its end deserves.

    With `stop_on_interrupt`, Ctrl-C asks the run to stop and its end is awaited; a second one only leaves. Without,
    Ctrl-C just leaves, and the run goes on.
    """
    with _sink(as_json) as sink:
        try:
            return _show_until_end(run, sink)
        except KeyboardInterrupt:
            if not stop_on_interrupt:
                return 130
        print("Stopping after this step. Ctrl-C again leaves it to end by itself.", file=sys.stderr)
        try:
            launch.request_stop(run)
            _show_until_end(run, sink, skip=True)
        except (KeyboardInterrupt, UserError):
            pass
        return 130


def exit_code(state: State) -> int:
    """0 for a run that is done or still going, 1 for one that failed, 130 for one that was stopped."""
    return {State.finished: 0, State.stopped: 130}.get(state, 0 if state.live else 1)


def _show_until_end(run: Run, sink: Sink, *, skip: bool = False) -> int:
    looked = 0.0
    for event in _follow(run, skip=skip):
        if event is not None:
            sink.show(event)
        if time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            sink.progress(run.look())
    glance = run.look()
    sink.progress(glance)
    if glance.state is State.crashed:
        print(
            f"The worker of {run.id} is gone without a word. Its last lines may be in {run.folder / 'worker.log'}; "
            f"go on with: dipddpm resume {run.id}",
            file=sys.stderr,
        )
    return exit_code(glance.state)


def _follow(run: Run, *, skip: bool) -> Iterator[AnyEvent | None]:
    """Events as they are written; None now and then while there are none. Ends when the run has ended."""
    reader = EventReader(run.folder)
    if skip:
        reader.read()
    looked = 0.0
    while True:
        fresh = reader.read()
        yield from fresh
        if fresh:
            looked = 0.0
        elif time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            if not run.look().state.live:
                # The end may have been written between the last read and the look.
                yield from reader.read()
                return
        yield None
        time.sleep(POLL_SECONDS)


def _sink(as_json: bool) -> AbstractContextManager[Sink]:
    if as_json:
        return nullcontext(JsonSink())
    if not sys.stderr.isatty() or not sys.stdout.isatty():
        return nullcontext(PlainSink())
    return _bar()


class _bar:  # noqa: N801
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
