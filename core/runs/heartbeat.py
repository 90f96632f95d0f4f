"""worker.json: the process that works on a run, and whether that process is still alive.

The system reuses process ids; host, boot, pid and process start time together are unique.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import msgspec

from dipddpm.core.io import atomic, records

WORKER_FILE = "worker.json"
BEAT_SECONDS = 5.0
"""The interval at which a thread of the worker updates worker.json."""
SILENT_SECONDS = 60.0
"""The age of the last update at which a worker on another host counts as gone."""
SKEW_SECONDS = 86_400.0
"""How far in the future the last update may lie, after a clock was set back, and still count as a sign of life."""
STALL_SECONDS = 120.0
"""The time without progress after which a live worker is marked as stalled."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """The unique identity of a process: `start` is its start time in clock ticks since boot, `boot` the boot's id."""

    host: str
    boot: str
    pid: int
    start: int


class Worker(msgspec.Struct, frozen=True):
    """The content of worker.json: the process, and when (s since 1970) it last was alive and last made progress."""

    identity: ProcessIdentity
    alive: float = 0.0
    progressed: float = 0.0
    device: str = ""
    inode: int = 0
    """The inode of the run folder; set only in the file."""


def process_identity(pid: int | None = None) -> ProcessIdentity | None:
    """Return the identity of a process on this host, by default the current one; None if there is no such process."""
    pid = os.getpid() if pid is None else pid
    start = _start_ticks(pid)
    return None if start is None else ProcessIdentity(socket.gethostname(), _boot_id(), pid, start)


def runs_here(process: ProcessIdentity) -> bool | None:
    """Return whether this exact process lives; None if it ran on another host, so that this one can't know."""
    if process.host != socket.gethostname():
        return None
    return process.boot == _boot_id() and _start_ticks(process.pid) == process.start


def restarted_since(process: ProcessIdentity) -> bool:
    """Return whether this host ran the process and has been restarted since."""
    return process.host == socket.gethostname() and process.boot != _boot_id()


def write(folder: Path, worker: Worker) -> None:
    """Replace worker.json."""
    stamped = msgspec.structs.replace(worker, inode=folder.stat().st_ino)
    atomic.write_atomic(folder / WORKER_FILE, msgspec.json.encode(stamped), durable=False)


def read(folder: Path) -> Worker | None:
    """Return the content of worker.json; None if it is missing or unreadable, or if the folder is a copy.

    The worker of the original run doesn't work on a copy, and a request to stop the copy must not stop that worker. A
    copy is recognised by its inode, but not from another host, where the same folder may have another inode.
    """
    worker = records.read(folder / WORKER_FILE, Worker)
    with contextlib.suppress(OSError):
        if worker and (worker.inode in {0, folder.stat().st_ino} or worker.identity.host != socket.gethostname()):
            return msgspec.structs.replace(worker, inode=0)
    return None


def is_alive(worker: Worker, now: float | None = None) -> bool:
    """Return whether the worker lives: by its process if it runs on this host, else by the age of its last update.

    A clock that was set back puts the update into the future; up to a day, that counts as a sign of life.
    """
    alive = runs_here(worker.identity)
    if alive is not None:
        return alive
    return -SKEW_SECONDS < (time.time() if now is None else now) - worker.alive < SILENT_SECONDS


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat, or psutil's start time without /proc (macOS); None if gone or a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
        return None if after_name[0] in {b"Z", b"X"} else int(after_name[19])
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
    import psutil

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    return None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
