"""The one thread that reads: it scans the runs folder, follows the logs that are looked at, and asks the host.

A slow file system then never holds up a key. The screen's thread sends commands through a queue and gets messages
back. The two threads share nothing else but the flag that ends the loop.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from textual.message import Message

from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import LOG_FILE, EventReader, RunsFolder
from dipddpm.tui.console.model.host import HostSample, HostSampler
from dipddpm.tui.shared.runlist import RunRow, RunScanner

CHUNK_BYTES = 1 << 18
"""About so many bytes of a log make one message: some two thousand events."""
SCAN_PAUSE_SECONDS = 0.1
HOST_SECONDS = 2.0
FIRST_HOST_SECONDS = 0.3
"""Loading what speaks to the driver would hold up the first frame."""
TAIL_BYTES = 1 << 16
"""So much of the end is read at first, and at most at a time."""
MAX_LINE_CHARACTERS = 2000


@dataclass
class RunsScanned(Message):
    """The rows of the run list, because something in them changed; `complete` once every folder has been read."""

    rows: Sequence[RunRow]
    complete: bool


class RowsChanged(Message):
    """The main screen shows the rows of every run, and something in them changed."""


@dataclass
class EventsRead(Message):
    """The events of a run's log from the byte `start` to the byte `end`; `caught_up` when that is the end of the log.

    The receiver knows by `start` whether a piece is missing: it then asks for the log from its first byte again.
    """

    run: str
    start: int
    end: int
    events: Sequence[Event]
    caught_up: bool


@dataclass
class OutputRead(Message):
    """More of what a run's process printed."""

    run: str
    lines: Sequence[str]
    restarted: bool


@dataclass
class HostSampled(Message):
    """The machine."""

    sample: HostSample


@dataclass
class ReaderFailed(Message):
    """The reader met an error that it can't go on from; without it the console would show the past for ever."""

    error: Exception


class Reader(threading.Thread):
    """Polls, because nothing else works on network file systems; at most `rate` times a second."""

    def __init__(self, root: Path, rate: float) -> None:
        super().__init__(name="reader", daemon=True)
        self.runs = RunsFolder(root)
        self._unsent: list[Message] = []
        self._receiver: Callable[[Message], object] = self._unsent.append
        self._receiver_lock = threading.Lock()
        self._period = 1 / rate
        self._commands: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._stop_requested = False
        self._watched: tuple[str, ...] = ()
        self._output_tail: TextTail | None = None
        self._readers: dict[str, EventReader] = {}
        self._scanner = RunScanner(root)
        self._host_sampler = HostSampler()
        self._host_sampled_at = time.monotonic() + FIRST_HOST_SECONDS - HOST_SECONDS

    def post_to(self, receiver: Callable[[Message], object]) -> None:
        """Hand every message to this receiver from now on, and first those that came before there was one.

        The thread can so begin to read while the screen that shows it is still being made.
        """
        with self._receiver_lock:
            for message in self._unsent:
                receiver(message)
            self._unsent.clear()
            self._receiver = receiver

    def _post(self, message: Message) -> None:
        with self._receiver_lock, contextlib.suppress(RuntimeError):  # the receiver's loop has just ended
            self._receiver(message)

    # Commands, from any thread

    def watch(self, runs: Sequence[str]) -> None:
        """Follow these logs from now on. A log that was followed before goes on where it was left."""
        self._commands.put(partial(setattr, self, "_watched", tuple(runs)))

    def watch_output(self, run: str) -> None:
        """Read also what this run's process prints, from its last lines on; nothing for the empty id."""
        self._commands.put(partial(self._open_output, run))

    def rewind(self, run: str) -> None:
        """Read this log from its first byte again, now or when it is watched again."""
        self._commands.put(partial(self._readers.pop, run, None))

    def wake(self) -> None:
        """Look now: something was just started, stopped or moved."""
        self._commands.put(lambda: None)

    def stop(self) -> None:
        """Come to an end soon; nothing waits for it."""
        self._stop_requested = True
        self._scanner.stop()
        self.wake()

    # The thread

    def run(self) -> None:
        """Read, post what is new, wait."""
        try:
            while not self._stop_requested:
                began = time.monotonic()
                with contextlib.suppress(OSError):  # a file system that went away: the next look tries again
                    self._poll()
                self.obey(max(0.01, self._period - (time.monotonic() - began)))
        except Exception as error:
            self._post(ReaderFailed(error))

    def obey(self, patience: float = 0.0) -> None:
        """Carry out the commands that have come; wait for the first one at most `patience` seconds."""
        with contextlib.suppress(queue.Empty):
            self._commands.get(patience > 0, patience)()
            while True:
                self._commands.get_nowait()()

    def _open_output(self, run: str) -> None:
        self._output_tail = TextTail(self.runs.run(run).folder / LOG_FILE) if run else None

    def _poll(self) -> None:
        self.read_logs()
        self._scan()
        self.read_logs()
        self._read_output()
        self._sample_host()

    def _scan(self) -> None:
        for rows, complete in self._scanner.scan():
            self._post(RunsScanned(rows, complete))
            if not complete:
                # The run that is looked at goes before the end of a long list.
                self.obey(SCAN_PAUSE_SECONDS)
                self.read_logs()

    def read_logs(self) -> None:
        """Post what is new in the logs that are watched."""
        for run in self._watched:
            self._read_log(run)

    def _read_log(self, run: str) -> None:
        reader = self._readers.get(run)
        more = reader is None  # the first message comes even when the log is empty: a screen may wait for it
        if reader is None:
            reader = self._readers[run] = EventReader(self.runs.run(run).folder)
        while not self._stop_requested:
            before = reader.offset
            events = reader.read(CHUNK_BYTES)
            start = 0 if reader.restarted else before
            awaited, more = more, reader.offset - start >= CHUNK_BYTES
            # Lines that hold no event move the offset, too, and the receiver has to know it.
            if reader.offset > start or reader.restarted or awaited:
                self._post(EventsRead(run, start, reader.offset, events, not more))
            if not more:
                return

    def _read_output(self) -> None:
        tail = self._output_tail
        if tail is not None:
            lines, restarted = tail.read()
            if lines or restarted:
                self._post(OutputRead(tail.path.parent.name, lines, restarted))

    def _sample_host(self) -> None:
        now = time.monotonic()
        if now - self._host_sampled_at < HOST_SECONDS:
            return
        self._host_sampled_at = now
        self._post(HostSampled(self._host_sampler.sample()))


class TextTail:
    """Reads the end of a text file that another process writes, safe to show, and goes on from there.

    What a progress bar drew over with carriage returns is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = -1
        self._inode = 0

    def read(self) -> tuple[list[str], bool]:
        """The lines completed since the last call, and whether the file began anew."""
        try:
            with atomic.open_regular(self.path) as file:
                status = os.fstat(file.fileno())
                restarted = self._offset < 0 or status.st_ino != self._inode or status.st_size < self._offset
                self._inode = status.st_ino
                if restarted or status.st_size - self._offset > TAIL_BYTES:
                    self._offset = max(0, status.st_size - TAIL_BYTES)
                block = os.pread(file.fileno(), TAIL_BYTES, self._offset)
        except OSError:
            return [], False
        whole, newline, _ = block.rpartition(b"\n")
        if not newline and len(block) < TAIL_BYTES:
            return [], restarted
        text = whole if newline else block
        self._offset += len(text) + len(newline)
        return [_visible_text(line) for line in text.split(b"\n")], restarted


def _visible_text(line: bytes) -> str:
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    return printable(last.decode("utf-8", "replace"), MAX_LINE_CHARACTERS)
