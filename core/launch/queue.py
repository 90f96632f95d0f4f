"""Slots: how many runs a device carries at once on this host, and who is next. Loads no torch.

There is no daemon. A waiting worker holds a ticket in a folder of this user and host and takes a slot by locking its
file; the kernel frees the lock when the process ends, however it ends.
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
"""Whoever is at this place in the queue or behind it looks this many times more seldom."""


class Ticket(msgspec.Struct, frozen=True):
    """A place in the queue."""

    run: str
    devices: list[str]
    identity: heartbeat.ProcessIdentity


@dataclass
class Slot:
    """Devices that are ours until `release`, or until this process ends."""

    devices: list[str]
    _descriptors: list[int]

    def release(self) -> None:
        """Give the slot to the next one."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def folder() -> Path:
    """Where tickets and locks are kept: per user, on this host (`DIPDDPM_SLOTS_DIR` moves it)."""
    chosen = os.environ.get("DIPDDPM_SLOTS_DIR")
    base = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"dipddpm-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise UserError(f"{base} belongs to somebody else.", "Set DIPDDPM_SLOTS_DIR to a folder of your own.")
    return base


def per_device() -> int:
    """Runs that a device carries at once: `DIPDDPM_SLOTS`, else 1."""
    setting = os.environ.get("DIPDDPM_SLOTS", "1")
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(f"DIPDDPM_SLOTS is {setting!r}, which is no number of slots.", "Set it to 1 or more.")
    return int(setting)


def waiting() -> list[tuple[Path, Ticket]]:
    """The tickets whose workers live, first to be served first."""
    tickets = []
    for path in sorted(folder().glob("*.ticket")):
        ticket = records.read(path, Ticket)
        if ticket is not None and heartbeat.runs_here(ticket.identity):
            tickets.append((path, ticket))
        elif ticket is not None:
            path.unlink(missing_ok=True)
    return tickets


def move(run: str, by: int) -> None:
    """Serve a waiting run later (`by` > 0) or earlier by so many places; a run that waits no more is left alone.

    A ticket's place is the number that its name begins with, so that moving it is a rename.
    """
    tickets = waiting()
    position = next((n for n, (_, ticket) in enumerate(tickets) if ticket.run == run), None)
    if position is None or not by:
        return
    neighbour = tickets[max(0, min(position + by, len(tickets) - 1))][0]
    if neighbour != tickets[position][0]:
        number = int(neighbour.name.partition("-")[0]) + (1 if by > 0 else -1)
        with contextlib.suppress(FileNotFoundError):  # it has just been served
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
    """Wait for a slot on `count` of these devices, in the order of arrival: `since`, an `arrival_time`, or now.

    `on_position` gets how many are served first, whenever that changes. None once `should_give_up` returns true.
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
                ahead_of_us = [
                    (path, ticket)
                    for path, ticket in _tickets_ahead(read_once)
                    if not set(ticket.devices).isdisjoint(devices)
                ]
                if slot := _lock(_unclaimed(devices, ahead_of_us), count):
                    return slot
                # Whoever holds the slot counts as one, where nobody else waits.
                if reported != max(1, len(ahead_of_us)):
                    reported = max(1, len(ahead_of_us))
                    on_position(reported)
                next_check = time.monotonic() + POLL_SECONDS * min(reported, FAR_POSITION)
            time.sleep(POLL_SECONDS)
        return None
    finally:
        for path in folder().glob(f"*-{os.getpid()}.ticket"):
            path.unlink(missing_ok=True)


def arrival_time() -> int:
    """The time by which the queue is ordered: the monotonic clock is one for all processes of the machine."""
    return time.monotonic_ns()


def _tickets_ahead(read: Callable[[Path], Ticket | None]) -> Iterator[tuple[Path, Ticket]]:
    """The tickets before this process's own, those of the dead too."""
    paths = sorted(folder().glob("*.ticket"))
    for path in itertools.takewhile(lambda path: not path.name.endswith(f"-{os.getpid()}.ticket"), paths):
        if (ticket := read(path)) is not None:
            yield path, ticket


def _unclaimed(devices: list[str], before: list[tuple[Path, Ticket]]) -> list[str]:
    """The devices that no living process wants which comes first; only as many are looked up as it takes to know."""
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
    """So many of the devices, or none: half of them would keep others waiting for nothing."""
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
