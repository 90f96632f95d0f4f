"""Follow a run from the shell until it ends: a progress bar on a terminal, plain lines in a pipe, events as JSON."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

from core import events, launch
from core.errors import UserError
from core.events import AnyEvent
from core.runs import LOG_FILE, EventReader, Glance, Run, State, history, life
from core.text import printable, printable_json
from tui.board import board_of
from tui.lines import duration, line

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED = 130
POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0


class Sink(Protocol):
    """Where followed events go."""

    def show(self, event: AnyEvent) -> None:
        """Take one event."""
        ...

    def progress(self, run: Run) -> None:
        """Show where the run stands, about once a second."""
        ...


class JsonSink:
    """The events themselves, a JSON object a line."""

    def show(self, event: AnyEvent) -> None:
        """Write the line as it stands in the log."""
        sys.stdout.write(printable_json(events.encode(event).decode()))
        sys.stdout.flush()

    def progress(self, run: Run) -> None:
        """Nothing: the events say it."""


class PlainSink:
    """A line of text for each event that is worth one."""

    def show(self, event: AnyEvent) -> None:
        """Print the line."""
        if (text := line(event)) is not None:
            print(text, flush=True)

    def progress(self, run: Run) -> None:
        """Nothing: a pipe gets lines only."""


class BarSink:
    """Lines that scroll above a progress bar with the time left."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=1.0, left="")

    def show(self, event: AnyEvent) -> None:
        """Print the line above the bar."""
        if (text := line(event)) is not None:
            self._bar.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def progress(self, run: Run) -> None:
        """Move the bar."""
        glance = run.look()
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
    asked = False
    looked = 0.0
    with _sink(as_json) as sink, _Interrupts() as interrupts:
        for event in _follow(run):
            if event is not None:
                sink.show(event)
            if time.monotonic() - looked >= LOOK_SECONDS:
                sink.progress(run)
                looked = time.monotonic()  # after it: where a look takes long, the events go first
            if interrupts.count > asked:
                if asked or not stop_on_interrupt:
                    return INTERRUPTED
                asked = True
                _ask_to_stop(run)
        sink.progress(run)
    glance = run.look()
    if glance.state is State.finished and not as_json:
        print("".join(f"{text}\n" for text in board_of(run)), end="")
    if glance.state is State.broken:
        print(f"{printable(run.id)} can't be followed: {printable(glance.trouble)}", file=sys.stderr)
    if glance.state is State.crashed:
        print(
            f"The worker of {printable(run.id)} is gone without a word. {glance.hint} Its last lines may be in "
            f"{printable(str(run.folder / LOG_FILE))}; go on with: dipddpm resume {printable(run.id)}",
            file=sys.stderr,
        )
    return INTERRUPTED if asked else exit_code(glance.state)


def exit_code(state: State) -> int:
    """0 for a run that is done or still going, 1 for one that failed, 130 for one that was stopped."""
    return {State.finished: 0, State.stopped: INTERRUPTED}.get(state, 0 if state.live else 1)


class _Interrupts:
    """Counts the Ctrl-Cs, so that none cuts a line in two or loses an event on its way to the screen."""

    count = 0

    def __enter__(self) -> _Interrupts:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        self.count += 1


def _ask_to_stop(run: Run) -> None:
    print("Stopping after this step. Ctrl-C again leaves it to end by itself.", file=sys.stderr)
    with contextlib.suppress(UserError):  # it has just ended
        launch.request_stop(run)


def _follow(run: Run) -> Iterator[AnyEvent | None]:
    """Events as they are written; None now and then while there are none. Ends when the run has ended.

    What stands there already is told as the run's one history: what was resumed from a checkpoint, once.
    """
    reader = EventReader(run.folder)
    fresh = history(reader.read())
    looked = 0.0
    while True:
        yield from fresh
        if fresh:
            looked = 0.0
        elif time.monotonic() - looked >= LOOK_SECONDS:
            looked = time.monotonic()
            if _is_over(run.look()):
                # The end may have been written between the last read and the look.
                yield from reader.read()
                return
        yield None
        time.sleep(POLL_SECONDS)
        fresh = reader.read()


def _is_over(glance: Glance) -> bool:
    """Whether no more events will come. A worker that has just been started has not yet voided the end before."""
    return not glance.state.live and not (glance.worker and life.runs_here(glance.worker.identity))


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
