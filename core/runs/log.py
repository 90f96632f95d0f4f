"""events.jsonl: append a line, follow lines, and read them as the run's one logical history.

Plain lines, because SQLite's WAL and inotify don't work on network file systems. One whole line is one `os.write`
on an O_APPEND descriptor, so a killed writer leaves at most one torn line, at the end.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import math
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event

E = TypeVar("E", bound=Event)

EVENTS_FILE = "events.jsonl"
MAX_LINE = 1 << 20
"""A longer line is no event of ours, and is skipped without being kept in memory."""
_CHUNK = 1 << 20
_LAST = 64
"""So many bytes tell whether a log is still the one that was read: a line ends with its time and its offset."""
_DURABLE = (events.RunStarted, events.RunResumed, events.BestModelStored, events.CheckpointStored, *events.ENDS)
_PROCESS = (events.RunQueued, events.RunStarted, events.RunResumed)


class EventLog:
    """The writing end. One process holds it, by a lock that ends with the process.

    Raises UserError where another one still does after `patience` seconds: a killed process counts as gone a moment
    before the last of its threads is, and with it the lock.
    """

    def __init__(self, folder: Path, patience: float = 0.0) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(folder / EVENTS_FILE, flags, 0o666)
        until = time.monotonic() + patience
        while not self._lock():
            if time.monotonic() >= until:
                self.close()
                raise UserError(f"Another process works on {folder.name}.", "Wait for it, or stop it first.")
            time.sleep(0.05)
        self._torn = self.size > 0 and os.pread(self._descriptor, 1, self.size - 1) != b"\n"
        """Whether the last line lacks its end, by a kill or a full disk: the next one must not be glued to it."""

    @property
    def size(self) -> int:
        """Bytes in the log."""
        return os.fstat(self._descriptor).st_size

    def append(self, event: E) -> E:
        """Write one line, synced where losing it would matter; the event as written. Raises OSError on a full disk."""
        event = events.stamped(event, self.size + self._torn)
        line = b"\n" * self._torn + events.encode(event)
        written = os.write(self._descriptor, line)
        self._torn = written < len(line)
        if self._torn:
            # A full disk took a part. The rest is never sent alone: what readers see is a torn line, which they skip.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if isinstance(event, _DURABLE):
            os.fsync(self._descriptor)
        return event

    def close(self) -> None:
        """Give the descriptor back; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            # A file system without locks: worker.json alone keeps a second worker away.
        return True


class EventReader:
    """The reading end: remembers its offset, hands out complete lines only, and never raises for what a file holds.

    Any number of readers may follow one log. `restarted` is set by a `read` that found the file replaced or shorter
    than before and therefore began again at its start. Lines without `containing` are skipped.
    """

    def __init__(self, folder: Path, offset: int = 0, *, containing: bytes = b"") -> None:
        self.path = folder / EVENTS_FILE
        self.offset = offset
        self.containing = containing
        self.restarted = False
        self.unreadable = 0
        """Complete lines that were no event of a known kind."""
        self._inode = 0
        self._last = b""
        """The bytes before `offset`: a file system may give the inode of a deleted log to the next one."""
        self._skipping = False

    def read(self, limit: int | None = None) -> list[Event]:
        """The events whose lines were completed since the last call; at most about `limit` bytes of them."""
        completed: list[Event] = []
        self.restarted = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return completed
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return completed
            self._look_for_replacement(descriptor, status)
            start = self.offset
            while limit is None or self.offset - start < limit:
                block = os.pread(descriptor, _CHUNK, self.offset)
                lines, newline, _ = block.rpartition(b"\n")
                if newline:
                    completed += self._decode(lines)
                    self.offset += len(lines) + 1
                elif len(block) >= MAX_LINE:
                    self._skipping = True
                    self.offset += len(block)
                else:
                    break
                self._last = block[: len(lines) + 1 if newline else len(block)][-_LAST:]
        except OSError:
            pass  # a file system that went away; what was read stands, and the next call tries again
        finally:
            os.close(descriptor)
        return completed

    def stream(self) -> Iterator[Event]:
        """The same, to the end that the log has by then, without holding more than a piece of it in memory."""
        before = -1
        while self.offset != before:
            before = self.offset
            yield from self.read(limit=1)

    def _look_for_replacement(self, descriptor: int, status: os.stat_result) -> None:
        replaced = self._inode not in {0, status.st_ino} or status.st_size < self.offset
        if not replaced and self._last:
            replaced = os.pread(descriptor, len(self._last), self.offset - len(self._last)) != self._last
        self._inode = status.st_ino
        if replaced:
            self.offset = 0
            self._last = b""
            self._skipping = False
            self.restarted = True

    def _decode(self, lines: bytes) -> Iterable[Event]:
        for line in lines.split(b"\n"):
            if self._skipping:
                self._skipping = False
                continue
            if self.containing not in line:
                continue
            event = events.decode(line) if line else None
            if event is not None:
                yield event
            elif line:
                self.unreadable += 1


def voids(resumed: events.RunResumed, past: Event) -> bool:
    """Whether a resume voids an earlier record; that the run's processes waited, began and went on stays true."""
    if resumed.from_offset is None or isinstance(past, _PROCESS):
        return False
    return past.offset >= resumed.from_offset


def history(recorded: Iterable[Event]) -> list[Event]:
    """The recorded events as the run's logical history, each step once."""
    recorded = list(recorded)
    return list(logical_history(recorded, [event for event in recorded if isinstance(event, events.RunResumed)]))


def logical_history(recorded: Iterable[Event], resumes: Sequence[events.RunResumed]) -> Iterator[Event]:
    """Of the recorded events those that none of the `resumes`, the first among them, makes void, as they come.

    A resumed run does some of the work again: `run_resumed` voids what was told of it after the checkpoint, and an end
    that came before is an end no longer. However many resumes there are, each event is looked at once.
    """
    # The furthest way back of all resumes from each one on: what stands there or later is void by one of them.
    void_offsets = list(itertools.accumulate(map(_void_offset, reversed(resumes)), min, initial=math.inf))
    for event in recorded:
        if isinstance(event, events.RunResumed) and len(void_offsets) > 1:
            void_offsets.pop()
        elif isinstance(event, events.ENDS) and len(void_offsets) > 1:
            continue
        if isinstance(event, _PROCESS) or event.offset < void_offsets[-1]:
            yield event


def _void_offset(resumed: events.RunResumed) -> float:
    return math.inf if resumed.from_offset is None else resumed.from_offset
