"""The one thread that reads: it scans the runs folder, follows the logs that are looked at, and asks the host.

It alone touches the disk, so that a slow file system never holds up a key. What it finds it hands over whole, as
messages; nothing is shared.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.message import Message

from core.events import AnyEvent
from core.runs import LOG_FILE, EventReader, RunsFolder
from tui.model.host import HostSample, HostSampler
from tui.model.runlist import RunRow, RunScanner
from tui.model.tail import TextTail

CHUNK = 1 << 18
"""About so many bytes of a log make one message: some two thousand events."""
COURTESY_SECONDS = 0.1
HOST_SECONDS = 2.0
FIRST_HOST_SECONDS = 0.3
"""Loading what speaks to the driver would hold up the first frame."""


@dataclass
class RunsScanned(Message):
    """The rows of the run list, because something in them changed; `complete` once every folder has been read."""

    rows: Sequence[RunRow]
    complete: bool


@dataclass
class EventsRead(Message):
    """More of a run's log. `restarted`: the log was replaced, these are its first events. `caught_up`: all of it."""

    run: str
    events: Sequence[AnyEvent]
    restarted: bool
    caught_up: bool


@dataclass
class TextRead(Message):
    """More of what a run's process printed."""

    run: str
    lines: Sequence[str]
    restarted: bool


@dataclass
class HostSampled(Message):
    """The machine."""

    sample: HostSample


@dataclass
class Broken(Message):
    """The follower met an error that it can't go on from; without it the console would show the past for ever."""

    error: Exception


class Follower(threading.Thread):
    """Polls, because nothing else works on network file systems; at most `rate` times a second."""

    def __init__(self, root: Path, post: Callable[[Message], object], rate: float) -> None:
        super().__init__(name="follower", daemon=True)
        self.runs = RunsFolder(root)
        self._post = post
        self._period = 1 / rate
        self._wake = threading.Event()
        self._ended = False
        self._watched: tuple[str, ...] = ()
        self._text: TextTail | None = None
        self._readers: dict[str, EventReader] = {}
        self._scanner = RunScanner(root)
        self._host = HostSampler()
        self._host_at = time.monotonic() + FIRST_HOST_SECONDS - HOST_SECONDS

    def watch(self, runs: Sequence[str]) -> None:
        """Follow these logs from now on. A log that was followed before goes on where it was left."""
        self._watched = tuple(runs)
        self._wake.set()

    def watch_text(self, run: str) -> None:
        """Read also what this run's process prints, from its last lines on; nothing for the empty id."""
        self._text = TextTail(self.runs.run(run).folder / LOG_FILE) if run else None
        self._wake.set()

    def forget(self, run: str) -> None:
        """Begin this log anew when it is watched again."""
        self._readers.pop(run, None)

    def hurry(self) -> None:
        """Look now: something was just started, stopped or moved."""
        self._wake.set()

    def end(self) -> None:
        """Come to an end soon; nothing waits for it."""
        self._ended = True
        self._scanner.end()
        self._wake.set()

    def run(self) -> None:
        """Look, tell, wait."""
        try:
            self._follow()
        except Exception as error:
            self._post(Broken(error))

    def _follow(self) -> None:
        while not self._ended:
            began = time.monotonic()
            with contextlib.suppress(OSError):  # a file system that went away: the next look tries again
                self._look()
            self._wake.wait(max(0.01, self._period - (time.monotonic() - began)))
            self._wake.clear()

    def _look(self) -> None:
        self._read_logs()
        self._scan()
        self._read_logs()
        self._read_text()
        self._ask_host()

    def _scan(self) -> None:
        for rows, complete in self._scanner.scan():
            self._post(RunsScanned(rows, complete))
            if not complete:
                # The run that is looked at goes before the end of a long list.
                self._wake.wait(COURTESY_SECONDS)
                self._wake.clear()
                self._read_logs()

    def _read_logs(self) -> None:
        for run in self._watched:
            reader = self._readers.get(run)
            if reader is None:
                reader = self._readers[run] = EventReader(self.runs.run(run).folder)
            self._read(run, reader)

    def _read(self, run: str, reader: EventReader) -> None:
        more = reader.offset == 0  # of a log that is empty, too, people want to know
        while not self._ended:
            before = reader.offset
            events = reader.read(CHUNK)
            awaited, more = more, reader.offset - before >= CHUNK
            if events or reader.restarted or awaited:
                self._post(EventsRead(run, events, reader.restarted, not more))
            if not more:
                return

    def _read_text(self) -> None:
        tail = self._text
        if tail is not None:
            lines, restarted = tail.read()
            if lines or restarted:
                self._post(TextRead(tail.path.parent.name, lines, restarted))

    def _ask_host(self) -> None:
        now = time.monotonic()
        if now - self._host_at < HOST_SECONDS:
            return
        self._host_at = now
        self._post(HostSampled(self._host.sample()))
