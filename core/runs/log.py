"""events.jsonl: appending events, following them, and reading them as the run's logical history.

The log is a text file, because SQLite's WAL and inotify don't work on network file systems. Each line is written by
one `os.write` on an O_APPEND descriptor, so a killed writer leaves at most one torn line, at the end.
"""

from __future__ import annotations

import contextlib
import errno
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
from dipddpm.core.io import atomic, locks

E = TypeVar("E", bound=Event)

EVENTS_FILE = "events.jsonl"
MAX_LINE = 1 << 20
"""Largest length of a line in bytes; a longer line is skipped without being held in memory."""
_CHUNK = 1 << 20
_LAST = 64
"""Number of bytes, compared at each read, that identify the log: a line ends with its time and its offset."""
_DURABLE = (events.RunStarted, events.RunResumed, events.BestModelStored, events.CheckpointStored, *events.ENDS)
_PROCESS = (events.RunQueued, events.RunStarted, events.RunResumed)


class LockedError(UserError):
    """Another process has the lock of a run's log: it works on the run, or is about to delete or start it."""


@contextlib.contextmanager
def hold(folder: Path, patience: float = 0.0, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a run's log, as its worker does, so that no other process works on the run or moves it.

    With `shared`, others may hold it in the same way, but no worker may. Raises LockedError if another process still
    has the lock after `patience` seconds, and UserError if the run's folder has gone. A run without a log, and a file
    system without locks, offer nothing to hold; only worker.json then prevents two processes at one run.
    """
    try:
        descriptor, writable = _open_for_lock(folder / EVENTS_FILE)
    except OSError:
        _refuse_gone(folder)
        yield
        return
    try:
        # NFS gives exclusive locks only to those who may write; a worker's lock excludes a shared one as well.
        _lock_patiently(descriptor, folder, patience, shared=shared or not writable)
        # Another process may have moved or replaced the log between opening and locking it.
        _refuse_gone(folder, os.fstat(descriptor).st_ino)
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Return whether another process has the lock of the log."""
    try:
        with hold(folder, shared=True):
            return False
    except LockedError:
        return True
    except UserError:  # the folder has gone
        return False


def _open_for_lock(path: Path) -> tuple[int, bool]:
    """Open a log, and return its descriptor and whether that is open for writing. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    writable = True
    try:
        descriptor = os.open(path, os.O_RDWR | flags)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        descriptor, writable = os.open(path, os.O_RDONLY | flags), False
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor, writable


def _refuse_gone(folder: Path, inode: int | None = None) -> None:
    """Raise UserError if the folder no longer exists or holds another log."""
    try:
        status = folder.stat() if inode is None else (folder / EVENTS_FILE).stat()
    except FileNotFoundError:
        pass
    except OSError:
        return
    else:
        if inode in {None, status.st_ino}:
            return
    raise UserError(f"The run {folder.name} is no longer there.", "It was deleted or moved; see dipddpm ls.")


def _lock_patiently(descriptor: int, folder: Path, patience: float, *, shared: bool = False) -> None:
    until = time.monotonic() + patience
    try_lock = locks.try_shared_lock if shared else locks.try_lock
    # If the file system has no locks, only worker.json prevents a second worker.
    while try_lock(descriptor) is False:
        if time.monotonic() >= until:
            raise LockedError(f"Another process works on {folder.name}.", "Wait until it ends, or stop it first.")
        time.sleep(0.05)


class EventLog:
    """The writing end of the log. One process owns it, through a lock that is released when the process ends.

    Raises LockedError if another process still holds the lock after `patience` seconds. The wait is needed because a
    killed process counts as gone a moment before its last thread ends and releases the lock.
    """

    def __init__(self, folder: Path, patience: float = 0.0) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(folder / EVENTS_FILE, flags, 0o666)
        try:
            _lock_patiently(self._descriptor, folder, patience)
            _refuse_gone(folder, os.fstat(self._descriptor).st_ino)
        except BaseException:
            self.close()
            raise
        self._torn = self.size > 0 and os.pread(self._descriptor, 1, self.size - 1) != b"\n"
        """True if the last line is incomplete, after a kill or on a full disk; the next event must start a new line."""

    @property
    def size(self) -> int:
        """The size of the log in bytes."""
        return os.fstat(self._descriptor).st_size

    def append(self, event: E) -> E:
        """Write one line, synced if losing it would matter, and return the event as written.

        Raises OSError if the disk is full, or if a quota or `ulimit -f` forbids more.
        """
        event = events.stamped(event, self.size + self._torn)
        line = b"\n" * self._torn + events.encode(event)
        while line:  # after a short write, the next one raises the error that names the cause
            written = os.write(self._descriptor, line)
            self._torn = written < len(line)
            line = line[written:]
        if isinstance(event, _DURABLE):
            atomic.sync(self._descriptor)
        return event

    def close(self) -> None:
        """Close the descriptor; closing twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class EventReader:
    """The reading end of the log. It remembers its offset, returns only complete lines, and never raises an error.

    Any number of readers may follow one log. `read` sets `restarted` if the file was replaced or has become shorter, so
    that reading began again at its start. Lines that don't contain `containing` are skipped.
    """

    def __init__(self, folder: Path, offset: int = 0, *, containing: bytes = b"") -> None:
        self.path = folder / EVENTS_FILE
        self.offset = offset
        self.containing = containing
        self.restarted = False
        self.unreadable = 0
        """The number of complete lines that held no event of a known kind."""
        self._inode = 0
        self._last = b""
        """The bytes before `offset`; the inode isn't enough, because file systems reuse the inodes of deleted logs."""
        self._skipping = False

    def read(self, limit: int | None = None) -> list[Event]:
        """Return the events whose lines were completed since the last call, at most about `limit` bytes of lines."""
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
            self._restart_if_replaced(descriptor, status)
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
            pass  # the file system is unavailable: the events read so far are returned, and the next call tries again
        finally:
            os.close(descriptor)
        return completed

    def stream(self) -> Iterator[Event]:
        """Yield the events up to the end of the log, holding about one block of it in memory at a time."""
        before = -1
        while self.offset != before:
            before = self.offset
            yield from self.read(limit=1)

    def _restart_if_replaced(self, descriptor: int, status: os.stat_result) -> None:
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
    """Return whether a resume voids an earlier event; the events of processes (queued, started, resumed) stay valid."""
    if resumed.from_offset is None or isinstance(past, _PROCESS):
        return False
    return past.offset >= resumed.from_offset


def history(recorded: Iterable[Event]) -> list[Event]:
    """Return the recorded events as the run's logical history, which has each step once."""
    recorded = list(recorded)
    return list(logical_history(recorded, [event for event in recorded if isinstance(event, events.RunResumed)]))


def logical_history(recorded: Iterable[Event], resumes: Sequence[events.RunResumed]) -> Iterator[Event]:
    """Yield the recorded events that no resume voids; `resumes` are all resumes among them, in order.

    A resumed run repeats some of its work: `run_resumed` voids the events logged after the checkpoint, and any end
    before it. Each event is examined once, however many resumes there are.
    """
    # The smallest offset of each resume and all later ones: events at that offset or beyond are void.
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
