"""The reader thread: it scans the runs folder, follows the logs of the runs on the screen, and samples the machine.

So a slow file system never delays a key. The screen's thread sends commands through a queue and receives messages.
Apart from these, the two threads share only the flag that ends the loop.
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
"""Approximate bytes of a log per message: some two thousand events."""
SCAN_PAUSE_SECONDS = 0.1
HOST_SECONDS = 2.0
FIRST_HOST_SECONDS = 0.3
"""Delay of the first sample, since loading the driver's library would delay the first frame."""
TAIL_BYTES = 1 << 16
"""Bytes read from the end of the output at first, and at most per call."""
MAX_LINE_CHARACTERS = 2000


@dataclass
class RunsScanned(Message):
    """All rows of the run list, posted when any has changed; `complete` once every run's folder has been read."""

    rows: Sequence[RunRow]
    complete: bool


class RowsChanged(Message):
    """Posted by the main screen when rows have changed, once it shows all of them."""


@dataclass
class EventsRead(Message):
    """The events of a run's log between the offsets `start` and `end`; `caught_up` if `end` is the end of the log.

    If `start` is not where the receiver's events end, some are missing: it must then request the log from its start.
    """

    run: str
    start: int
    end: int
    events: Sequence[Event]
    caught_up: bool


@dataclass
class OutputRead(Message):
    """New lines printed by a run's process; `restarted` if they don't follow the previous ones."""

    run: str
    lines: Sequence[str]
    restarted: bool


@dataclass
class HostSampled(Message):
    """The state of this machine."""

    sample: HostSample


@dataclass
class ReaderFailed(Message):
    """An unexpected error ended the reader; the console must end too, or it would show old data forever."""

    error: Exception


class Reader(threading.Thread):
    """Polls the runs at most `rate` times a second; file system events don't work on network file systems."""

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
        """Send all messages to this receiver from now on, beginning with the messages posted so far.

        So the thread can start to read while the screen is still being built.
        """
        with self._receiver_lock:
            for message in self._unsent:
                receiver(message)
            self._unsent.clear()
            self._receiver = receiver

    def _post(self, message: Message) -> None:
        with self._receiver_lock, contextlib.suppress(RuntimeError):  # the receiver's event loop has just ended
            self._receiver(message)

    # Commands, from any thread

    def watch(self, runs: Sequence[str]) -> None:
        """Follow these runs' logs from now on. A log followed before continues where it was left."""
        self._commands.put(partial(setattr, self, "_watched", tuple(runs)))

    def watch_output(self, run: str) -> None:
        """Also follow the output of this run's process, from its last lines on; of no run for an empty id."""
        self._commands.put(partial(self._open_output, run))

    def rewind(self, run: str) -> None:
        """Read this run's log from its first byte again, now or when it is watched again."""
        self._commands.put(partial(self._readers.pop, run, None))

    def wake(self) -> None:
        """Poll now, since a run was just started, stopped or moved."""
        self._commands.put(lambda: None)

    def stop(self) -> None:
        """End the thread soon, without waiting for it."""
        self._stop_requested = True
        self._scanner.stop()
        self.wake()

    # The thread

    def run(self) -> None:
        """Poll until stopped."""
        try:
            while not self._stop_requested:
                began = time.monotonic()
                with contextlib.suppress(OSError):  # if the file system is unavailable, the next poll tries again
                    self._poll()
                self.run_commands(max(0.01, self._period - (time.monotonic() - began)))
        except Exception as error:
            self._post(ReaderFailed(error))

    def run_commands(self, timeout: float = 0.0) -> None:
        """Run the pending commands; wait up to `timeout` seconds for the first one."""
        with contextlib.suppress(queue.Empty):
            self._commands.get(timeout > 0, timeout)()
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
                # While a long list is being scanned, the runs on the screen go first.
                self.run_commands(SCAN_PAUSE_SECONDS)
                self.read_logs()

    def read_logs(self) -> None:
        """Post the new events of the watched logs."""
        for run in self._watched:
            self._read_log(run)

    def _read_log(self, run: str) -> None:
        reader = self._readers.get(run)
        more = reader is None  # a first message is posted even for an empty log: a screen may wait for it
        if reader is None:
            reader = self._readers[run] = EventReader(self.runs.run(run).folder)
        while not self._stop_requested:
            before = reader.offset
            events = reader.read(CHUNK_BYTES)
            start = 0 if reader.restarted else before
            awaited, more = more, reader.offset - start >= CHUNK_BYTES
            # Lines without an event also move the offset, which the receiver must know.
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
    """Follows a text file that another process writes, from its end on. The lines are made safe to show.

    Text that a progress bar overwrote with carriage returns is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = -1
        self._inode = 0

    def read(self) -> tuple[list[str], bool]:
        """Return the lines completed since the last call, and whether they belong to a new file or the first read."""
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
