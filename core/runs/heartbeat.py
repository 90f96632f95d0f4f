"""Who runs a run, and whether they still do: worker.json and the process it names.

A process id alone is reused by the system; host, boot, pid and process start time together are not.
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
"""A thread of the worker stamps worker.json this often."""
SILENT_SECONDS = 60.0
"""A worker on another host, of which only its stamps are known, counts as gone after this long."""
SKEW_SECONDS = 86_400.0
STALL_SECONDS = 120.0
"""A worker that lives but has made no progress for this long is marked as stalled."""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """One process, ever: `start` is its start time in clock ticks since boot, `boot` the id of that boot."""

    host: str
    boot: str
    pid: int
    start: int


class Worker(msgspec.Struct, frozen=True):
    """worker.json: the process, when it last showed that it lives, and when it last got on with the work."""

    identity: ProcessIdentity
    alive: float = 0.0
    progressed: float = 0.0
    device: str = ""
    inode: int = 0
    """That of the folder that it works in; in the file only."""


def process_identity(pid: int | None = None) -> ProcessIdentity | None:
    """The identity of a process on this host (this one, if no pid is given); None where there is no such process."""
    pid = os.getpid() if pid is None else pid
    start = _start_ticks(pid)
    return None if start is None else ProcessIdentity(socket.gethostname(), _boot_id(), pid, start)


def runs_here(process: ProcessIdentity) -> bool | None:
    """Whether the very process lives; None where this host can't tell, because it ran on another one."""
    if process.host != socket.gethostname():
        return None
    return process.boot == _boot_id() and _start_ticks(process.pid) == process.start


def restarted_since(process: ProcessIdentity) -> bool:
    """Whether this host, on which the process ran, has been started anew."""
    return process.host == socket.gethostname() and process.boot != _boot_id()


def write(folder: Path, worker: Worker) -> None:
    """Replace worker.json."""
    stamped = msgspec.structs.replace(worker, inode=folder.stat().st_ino)
    atomic.write_atomic(folder / WORKER_FILE, msgspec.json.encode(stamped), durable=False)


def read(folder: Path) -> Worker | None:
    """worker.json; None where there is none, it can't be read, or it came along when somebody copied the folder.

    The worker of the original is not at the copy, and must not be stopped in its name. On another host, where a folder
    may show under another inode, that can't be told.
    """
    worker = records.read(folder / WORKER_FILE, Worker)
    with contextlib.suppress(OSError):
        if worker and (worker.inode in {0, folder.stat().st_ino} or worker.identity.host != socket.gethostname()):
            return msgspec.structs.replace(worker, inode=0)
    return None


def is_alive(worker: Worker, now: float | None = None) -> bool:
    """The process named in worker.json where this host can look it up, else the age of its last stamp.

    A clock that jumped back makes the stamp lie in the future: up to a day, that counts as a sign of life.
    """
    alive = runs_here(worker.identity)
    if alive is not None:
        return alive
    return -SKEW_SECONDS < (time.time() if now is None else now) - worker.alive < SILENT_SECONDS


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, or psutil's answer without /proc (macOS). A zombie has ended: it counts as gone."""
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
