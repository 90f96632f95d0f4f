"""The queue for slots, which limit how many runs a device of this host carries at once. Loads no torch.

There is no daemon. A waiting worker puts a ticket into a folder of this user and host, and takes a slot by locking the
slot's file; the kernel releases the lock when the process ends in any way. Both files are touched from time to time, so
that no service deletes them as old, and are written again if they were deleted.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, home, locks, records
from dipddpm.core.runs import heartbeat

POLL_SECONDS = 0.5
ENDING_SECONDS = 2.0
"""Time in which a run that has ended releases its slot; the run isn't reported as one ahead meanwhile."""
FAR_POSITION = 10
"""A worker with n runs ahead checks the queue every n polls, but at least every `FAR_POSITION` polls."""
FOLDER = "/tmp/dipddpm-{uid}"
"""The default folder. It is fixed, because TMPDIR and XDG_RUNTIME_DIR differ between two logins, cron and Slurm."""
SETTING = "DIPDDPM_SLOTS_DIR"
REGAIN_SECONDS = 2 * heartbeat.BEAT_SECONDS
"""Time for the runs that hold slots to lock them again after the folder's files were deleted."""


class QueueError(UserError):
    """The folder of the queue can't be used, so that a run can't wait for the others."""


class Ticket(msgspec.Struct, frozen=True):
    """A waiting run, the devices that it accepts and its process."""

    run: str
    devices: list[str]
    identity: heartbeat.ProcessIdentity


@dataclass
class Slot:
    """Devices that this process holds until it calls `release` or ends."""

    devices: list[str]
    _descriptors: dict[Path, int]

    def release(self) -> None:
        """Release the slot for the next run."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def refresh(self) -> None:
        """Touch the slot's files, and lock them again if they were deleted and no other run has locked new ones."""
        for path, descriptor in list(self._descriptors.items()):
            with contextlib.suppress(OSError, QueueError):
                os.utime(descriptor)
                if not _is_same_file(path, descriptor) and (new := _lock_file(folder() / path.name)) is not None:
                    self._descriptors[path] = new
                    os.close(descriptor)


def folder() -> Path:
    """Return the folder of tickets and locks, one per user and host, or `DIPDDPM_SLOTS_DIR` if that is set.

    Raises QueueError if the folder can't be created or belongs to another user, and UserError for a relative path.
    """
    chosen = _chosen_folder()
    base = chosen or Path(FOLDER.format(uid=os.getuid()))
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.stat() if chosen else base.lstat()
        if not chosen and stat.S_ISLNK(status.st_mode):
            raise _unusable(base, "it is a link")
        if status.st_uid != os.getuid():
            raise _unusable(base, "it belongs to another user")
        if not chosen and status.st_mode & 0o077:
            base.chmod(0o700)
    except OSError as error:
        why = "it is not a folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
        raise _unusable(base, why or str(error)) from None
    return base


def require_locks() -> None:
    """Raise QueueError if files in the queue's folder can't be written and locked."""
    path = folder() / f".{secrets.token_hex(4)}{atomic.TEMPORARY}"
    try:
        atomic.write_atomic(path, b"locks", durable=False)
        if (descriptor := _lock_file(path)) is not None:
            os.close(descriptor)
        path.unlink()
    except OSError as error:
        raise _unusable(path.parent, error.strerror or str(error)) from None


def refuse_settings() -> None:
    """Raise UserError for a value of `DIPDDPM_SLOTS` or `DIPDDPM_SLOTS_DIR` that can't be meant."""
    per_device()
    _chosen_folder()


def _chosen_folder() -> Path | None:
    chosen = os.environ.get(SETTING)
    if not chosen:
        return None
    path = home.expand(chosen)
    if not path.is_absolute():  # each working folder would have a queue of its own
        raise UserError(f"{SETTING} is the relative path {chosen}.", f"Set {SETTING} to a whole path, or unset it.")
    return path


def _unusable(base: Path, why: str) -> QueueError:
    return QueueError(f"The folder of the queue, {base}, can't be used: {why}.", f"Set {SETTING} to another folder.")


def per_device() -> int:
    """Return how many runs a device carries at once: `DIPDDPM_SLOTS`, or 1 if that isn't set."""
    setting = os.environ.get("DIPDDPM_SLOTS", "1")
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(f"DIPDDPM_SLOTS is {setting!r}, not a whole number from 1 on.", "Set it to 1 or more.")
    return int(setting)


def waiting() -> list[tuple[Path, Ticket]]:
    """Return the tickets of living workers in the order of service. Raises QueueError."""
    tickets = []
    for path in sorted(folder().glob("*.ticket")):
        ticket = records.read(path, Ticket)
        if ticket is not None and _is_live(path, ticket):
            tickets.append((path, ticket))
        elif ticket is not None:
            _remove(path)
    return tickets


def move(run: str, by: int) -> None:
    """Move a waiting run back (`by` > 0) or forward in the queue; do nothing if the run no longer waits.

    The number at the start of a ticket's name orders the queue, so that a rename moves the ticket.
    """
    tickets = waiting()
    position = next((n for n, (_, ticket) in enumerate(tickets) if ticket.run == run), None)
    if position is None or not by:
        return
    neighbour = tickets[max(0, min(position + by, len(tickets) - 1))][0]
    if neighbour != tickets[position][0]:
        number = int(neighbour.name.partition("-")[0]) + (1 if by > 0 else -1)
        moved = tickets[position][0]
        with contextlib.suppress(FileNotFoundError):  # the run has just received its slot
            moved.rename(moved.with_name(f"{number:020d}-{moved.name.partition('-')[2]}"))


def acquire(
    run: str,
    devices: list[str],
    count: int = 1,
    *,
    since: int | None = None,
    should_give_up: Callable[[], bool] = lambda: False,
    on_position: Callable[[int], None] = lambda _: None,
) -> Slot | None:
    """Wait for a slot on `count` of the devices; return None once `should_give_up` returns true.

    `since`, an `arrival_time` or by default the current time, orders the queue. `on_position` is called with the number
    of runs ahead whenever that changes. Raises QueueError if the queue's folder can't be used.
    """
    read_once = functools.cache(lambda path: records.read(path, Ticket))  # there may be hundreds of tickets
    began = next_check = time.monotonic()
    reported = -1
    own = _OwnTicket(run, devices, arrival_time() if since is None else since)
    try:
        while not should_give_up():
            if time.monotonic() >= next_check:
                try:
                    slot, ahead = own.try_to_lock(count, read_once)
                except OSError as error:
                    if reported < 0:
                        raise _unusable(folder(), error.strerror or str(error)) from None
                    slot, ahead = None, reported  # the folder was usable before: wait until it is usable again
                if slot:
                    return slot
                # If no other run waits, the run that holds the slot counts as one run ahead, unless it is just ending.
                position = max(1, ahead)
                if reported != position and (ahead > 0 or time.monotonic() - began >= ENDING_SECONDS):
                    reported = position
                    on_position(reported)
                next_check = time.monotonic() + POLL_SECONDS * min(position, FAR_POSITION)
            time.sleep(POLL_SECONDS)
        return None
    finally:
        own.remove()


class _OwnTicket:
    """The ticket of this process."""

    def __init__(self, run: str, devices: list[str], number: int) -> None:
        identity = heartbeat.process_identity()
        assert identity is not None
        self._ticket = Ticket(run, devices, identity)
        self._number = f"{number:020d}"
        # Containers that share the folder may give two processes the same pid.
        self._rest = f"-{os.getpid()}-{secrets.token_hex(4)}.ticket"
        self._written = False
        self._may_lock_at = 0.0

    def try_to_lock(self, count: int, read: Callable[[Path], Ticket | None]) -> tuple[Slot | None, int]:
        """Return a slot if there is one for this run, and the number of runs ahead. Raises OSError, QueueError."""
        path = self._update()
        devices = self._ticket.devices
        ahead = [(path, ticket) for path, ticket in _tickets_ahead(path, read) if set(ticket.devices) & set(devices)]
        if time.monotonic() < self._may_lock_at:
            return None, len(ahead)
        return _lock(_unclaimed(devices, ahead), count), len(ahead)

    def _update(self) -> Path:
        """Touch the ticket's file, which another process may have renamed; write it again if it was deleted."""
        path = next(folder().glob(f"*{self._rest}"), None)
        if path is not None:
            os.utime(path)
            self._number = path.name.partition("-")[0]
            return path
        if self._written:
            self._may_lock_at = time.monotonic() + REGAIN_SECONDS
        path = folder() / f"{self._number}{self._rest}"
        atomic.write_atomic(path, msgspec.json.encode(self._ticket), durable=False)
        self._written = True
        return path

    def remove(self) -> None:
        """Delete the ticket's file."""
        with contextlib.suppress(OSError, QueueError):
            for path in folder().glob(f"*{self._rest}"):
                path.unlink(missing_ok=True)


def arrival_time() -> int:
    """Return the current monotonic time, which all processes of the machine share and which orders the queue."""
    return time.monotonic_ns()


def _tickets_ahead(own: Path, read: Callable[[Path], Ticket | None]) -> Iterator[tuple[Path, Ticket]]:
    """Yield the tickets ahead of this process's own, including tickets of dead processes."""
    paths = sorted(own.parent.glob("*.ticket"))
    for path in itertools.takewhile(lambda path: path != own, paths):
        if (ticket := read(path)) is not None:
            yield path, ticket


def _is_live(path: Path, ticket: Ticket) -> bool:
    """Return whether a ticket's process lives; of another host or container, whether it has touched its ticket."""
    alive = heartbeat.runs_here(ticket.identity)
    if alive is None:
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime < heartbeat.SILENT_SECONDS
    return bool(alive)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # a dead ticket is skipped if it can't be deleted
        path.unlink()


def _unclaimed(devices: list[str], before: list[tuple[Path, Ticket]]) -> list[str]:
    """Return the devices that no living process ahead waits for, and remove the tickets of dead processes.

    Processes that wait only for devices already claimed are not checked.
    """
    free = devices
    for path, ticket in before:
        if set(ticket.devices).isdisjoint(free):
            continue
        if _is_live(path, ticket):
            free = [device for device in free if device not in ticket.devices]
        else:
            _remove(path)
    return free


def _lock(devices: list[str], count: int) -> Slot | None:
    """Lock `count` of the devices, or none of them: a partial lock would block other runs without any use."""
    slot = Slot([], {})
    for device in devices:
        if len(slot.devices) < count and (locked := _lock_one(device)) is not None:
            slot.devices.append(device)
            slot._descriptors.update([locked])
    if len(slot.devices) == count:
        return slot
    slot.release()
    return None


def _lock_one(device: str) -> tuple[Path, int] | None:
    for number in range(per_device()):
        path = folder() / f"{device.replace(':', '-')}.{number}.slot"
        if (descriptor := _lock_file(path)) is not None:
            return path, descriptor
    return None


def _lock_file(path: Path) -> int | None:
    """Return the descriptor of a slot's file, locked; None if another process holds the lock. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    locked: bool | None = False
    try:
        locked = locks.try_lock(descriptor)
    finally:
        if not locked:
            os.close(descriptor)
    if locked is None:
        raise OSError(errno.ENOLCK, "its file system has no file locks")
    return descriptor if locked else None


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
