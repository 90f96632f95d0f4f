"""The queue for slots, which limit how many runs a device of this host carries at once. Loads no torch.

There is no daemon. A waiting worker puts a ticket into a folder of this user and host, and takes a slot by locking the
slot's file; the kernel releases the lock when the process ends in any way.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, records
from dipddpm.core.runs import heartbeat

POLL_SECONDS = 0.5
FAR_POSITION = 10
"""A worker with n runs ahead checks the queue every n polls, but at least every `FAR_POSITION` polls."""


class Ticket(msgspec.Struct, frozen=True):
    """A waiting run, the devices that it accepts and its process."""

    run: str
    devices: list[str]
    identity: heartbeat.ProcessIdentity


@dataclass
class Slot:
    """Devices that this process holds until it calls `release` or ends."""

    devices: list[str]
    _descriptors: list[int]

    def release(self) -> None:
        """Release the slot for the next run."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def folder() -> Path:
    """Return the folder of tickets and locks, one per user and host, or `DIPDDPM_SLOTS_DIR` if that is set."""
    chosen = os.environ.get("DIPDDPM_SLOTS_DIR")
    base = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"dipddpm-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise UserError(f"{base} belongs to another user.", "Set DIPDDPM_SLOTS_DIR to a folder of your own.")
    return base


def per_device() -> int:
    """Return how many runs a device carries at once: `DIPDDPM_SLOTS`, or 1 if that isn't set."""
    setting = os.environ.get("DIPDDPM_SLOTS", "1")
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(f"DIPDDPM_SLOTS is {setting!r}, not a whole number from 1 on.", "Set it to 1 or more.")
    return int(setting)


def waiting() -> list[tuple[Path, Ticket]]:
    """Return the tickets of living workers in the order of service."""
    tickets = []
    for path in sorted(folder().glob("*.ticket")):
        ticket = records.read(path, Ticket)
        if ticket is not None and heartbeat.runs_here(ticket.identity):
            tickets.append((path, ticket))
        elif ticket is not None:
            path.unlink(missing_ok=True)
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
        with contextlib.suppress(FileNotFoundError):  # the run has just received its slot
            tickets[position][0].rename(
                neighbour.with_name(f"{number:020d}-{tickets[position][1].identity.pid}.ticket")
            )


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
    of runs ahead whenever that changes.
    """
    identity = heartbeat.process_identity()
    assert identity is not None
    own_ticket = folder() / f"{arrival_time() if since is None else since:020d}-{os.getpid()}.ticket"
    atomic.write_atomic(own_ticket, msgspec.json.encode(Ticket(run, devices, identity)), durable=False)
    read_once = functools.cache(lambda path: records.read(path, Ticket))  # there may be hundreds of tickets
    reported, next_check = -1, time.monotonic()
    try:
        while not should_give_up():
            if time.monotonic() >= next_check:
                ahead = [
                    (path, ticket)
                    for path, ticket in _tickets_ahead(read_once)
                    if not set(ticket.devices).isdisjoint(devices)
                ]
                if slot := _lock(_unclaimed(devices, ahead), count):
                    return slot
                # If no other run waits, the run that holds the slot counts as one run ahead.
                if reported != max(1, len(ahead)):
                    reported = max(1, len(ahead))
                    on_position(reported)
                next_check = time.monotonic() + POLL_SECONDS * min(reported, FAR_POSITION)
            time.sleep(POLL_SECONDS)
        return None
    finally:
        for path in folder().glob(f"*-{os.getpid()}.ticket"):
            path.unlink(missing_ok=True)


def arrival_time() -> int:
    """Return the current monotonic time, which all processes of the machine share and which orders the queue."""
    return time.monotonic_ns()


def _tickets_ahead(read: Callable[[Path], Ticket | None]) -> Iterator[tuple[Path, Ticket]]:
    """Yield the tickets ahead of this process's own, including tickets of dead processes."""
    paths = sorted(folder().glob("*.ticket"))
    for path in itertools.takewhile(lambda path: not path.name.endswith(f"-{os.getpid()}.ticket"), paths):
        if (ticket := read(path)) is not None:
            yield path, ticket


def _unclaimed(devices: list[str], before: list[tuple[Path, Ticket]]) -> list[str]:
    """Return the devices that no living process ahead waits for, and remove the tickets of dead processes.

    Processes that wait only for devices already claimed are not checked.
    """
    free = devices
    for path, ticket in before:
        if set(ticket.devices).isdisjoint(free):
            continue
        if heartbeat.runs_here(ticket.identity):
            free = [device for device in free if device not in ticket.devices]
        else:
            path.unlink(missing_ok=True)
    return free


def _lock(devices: list[str], count: int) -> Slot | None:
    """Lock `count` of the devices, or none of them: a partial lock would block other runs without any use."""
    slot = Slot([], [])
    for device in devices:
        if len(slot.devices) < count and (descriptor := _lock_one(device)) is not None:
            slot.devices.append(device)
            slot._descriptors.append(descriptor)
    if len(slot.devices) == count:
        return slot
    slot.release()
    return None


def _lock_one(device: str) -> int | None:
    for number in range(per_device()):
        path = folder() / f"{device.replace(':', '-')}.{number}.slot"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None
