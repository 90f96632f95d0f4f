"""worker.json: the process that works on a run, and whether that process is still alive.

The system reuses process ids; host, boot, PID namespace, pid and process start time together are unique. A process of
another host, another boot or another PID namespace (a container's) can't be looked up; only the age of its last update
says whether it lives.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path

import msgspec

from dipddpm.core.io import atomic, records

WORKER_FILE = "worker.json"
BEAT_SECONDS = 5.0
"""The interval at which a thread of the worker updates worker.json."""
SILENT_SECONDS = 60.0
"""The age of the last update at which a worker that can't be looked up counts as gone."""
SKEW_SECONDS = 86_400.0
"""How far in the future the last update may lie, after a clock was set back, and still count as a sign of life."""
_UNKNOWN_START = 0
"""The start time of a process that lives but can't be looked up; no process starts at the moment of boot."""
STALL_SECONDS = 120.0
"""The time without progress after which a live worker is marked as stalled."""


class ProcessIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """The unique identity of a process: `start` is its start time in clock ticks since boot, `boot` the boot's id.

    `start` is 0 if it can't be read. `namespace` is the process's PID namespace; empty on systems without namespaces
    and in files of older versions.
    """

    host: str
    boot: str
    pid: int
    start: int
    namespace: str = ""


class Worker(msgspec.Struct, frozen=True):
    """The content of worker.json: the process, and when (s since 1970) it last was alive and last made progress."""

    identity: ProcessIdentity
    alive: float = 0.0
    progressed: float = 0.0
    device: str = ""
    inode: int = 0
    """The inode of the run folder; set only in the file."""


def process_identity(pid: int | None = None) -> ProcessIdentity | None:
    """Return the identity of a process of this PID namespace, by default the current one; None if there is none."""
    pid = os.getpid() if pid is None else pid
    start = _start_ticks(pid)
    return None if start is None else ProcessIdentity(socket.gethostname(), _boot_id(), pid, start, _namespace())


def runs_here(process: ProcessIdentity) -> bool | None:
    """Return whether this exact process lives; None if it can't be looked up from here."""
    if not _is_local(process) or process.start == _UNKNOWN_START:
        return None
    start = _start_ticks(process.pid)
    if start == process.start:
        return True
    # Older versions stored no namespace, so their process may have another number here.
    return None if start == _UNKNOWN_START or (_namespace() and not process.namespace) else False


def restarted_since(worker: Worker) -> bool:
    """Return whether this host has been started since the worker's last update.

    Another boot id isn't enough, because clones of a machine share its name.
    """
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC)
    here = worker.identity.host == socket.gethostname() and worker.identity.boot != _boot_id()
    return here and worker.alive < booted


def write(folder: Path, worker: Worker) -> None:
    """Replace worker.json."""
    stamped = msgspec.structs.replace(worker, inode=folder.stat().st_ino)
    atomic.write_atomic(folder / WORKER_FILE, msgspec.json.encode(stamped), durable=False)


def read(folder: Path) -> Worker | None:
    """Return the content of worker.json; None if it is missing or unreadable, or if the folder is a copy.

    The worker of the original run doesn't work on a copy, and a request to stop the copy must not stop that worker. A
    copy is recognised by its inode, but not from another host or container, where the same folder may have another one.
    """
    worker = records.read(folder / WORKER_FILE, Worker)
    with contextlib.suppress(OSError):
        if worker and (worker.inode in {0, folder.stat().st_ino} or not _is_local(worker.identity)):
            return msgspec.structs.replace(worker, inode=0)
    return None


def is_alive(worker: Worker, now: float | None = None) -> bool:
    """Return whether the worker lives: by its process if that can be looked up, else by the age of its last update.

    A clock that was set back puts the update into the future; up to a day, that counts as a sign of life.
    """
    alive = runs_here(worker.identity)
    if alive is not None:
        return alive
    return -SKEW_SECONDS < (time.time() if now is None else now) - worker.alive < SILENT_SECONDS


def _is_local(process: ProcessIdentity) -> bool:
    """Return whether a pid means the same process here as where the identity was written."""
    same_machine = process.host == socket.gethostname() and process.boot == _boot_id()
    return same_machine and process.namespace in {"", _namespace()}


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat, or psutil's start time without /proc (macOS); None if gone or a zombie.

    Return `_UNKNOWN_START` for a process that lives but is hidden: by the mount option hidepid, or because /proc is
    missing or shows another PID namespace.
    """
    is_own = pid == os.getpid()
    if _namespace():
        if is_own or Path("/proc/self").readlink() == Path(str(os.getpid())):
            with contextlib.suppress(OSError):
                stat = Path("/proc/self/stat" if is_own else f"/proc/{pid}/stat").read_bytes()
                after_name = stat.rpartition(b") ")[2].split()
                return None if after_name[0] in {b"Z", b"X"} else int(after_name[19])
    elif sys.platform != "linux":
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
        return None
    if pid <= 0:  # a group of processes
        return None
    try:
        os.kill(pid, 0)  # no signal: only checks that the process exists
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # the process of another user
    return _UNKNOWN_START


def _namespace() -> str:
    """Return the PID namespace of this process; empty if the system doesn't say."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
