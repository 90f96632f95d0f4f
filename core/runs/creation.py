"""The time at which a run was created, in seconds since 1970; it decides the order of runs, `last` and every age.

An id holds the time in UTC, so it depends on no time zone. Older versions wrote local time. Such an id, and one from
a clock that was put right a moment later, differs from the time of the first event, which then counts instead.
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dipddpm.core.events import Timestamp
from dipddpm.core.io import records
from dipddpm.core.runs.log import EVENTS_FILE

RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,40}-[0-9a-f]{4}")
CLOCK_SECONDS = 900.0
"""The largest difference between two clocks that is taken for inexact clocks. All time zones differ by more."""
ZONE_SECONDS = 15 * 3600.0
"""More than the largest difference between a time zone and UTC."""
_FIRST_BYTES = 8192
"""Number of bytes that hold the first events of a log."""
_TICKS = 16**4
"""Parts of a second that the last four digits of an id count."""
_known: dict[str, float] = {}
"""The creation times of runs with a first event, by folder: it never changes."""


class _Dated(msgspec.Struct):
    time: Timestamp


def run_id(kind: str, at: float) -> str:
    """Return the id of a run of this kind that is created at this time."""
    return f"{_second(at)}-{kind}-{int(at % 1 * _TICKS):04x}"


def next_time(root: Path) -> float:
    """Return the time for the id of a new run: now, or just after the newest run if the clock was set back a little.

    Clocks are set back by seconds, and those of two machines that share a folder differ; the run made last must still
    be the newest one.
    """
    now = time.time()
    first, last = _second(now), _second(now + CLOCK_SECONDS)
    try:
        names = [path for path in root.iterdir() if first <= path.name[:15] <= last]
    except OSError:
        return now
    newest = max((at for at in map(created, names) if at < now + CLOCK_SECONDS), default=0.0)
    return now if newest < now - 1 / _TICKS else newest + 1.5 / _TICKS


def created(folder: Path) -> float:
    """Return the time at which a run was created: by its id, or by its first event if that differs; 0.0 if unknown.

    Older versions extended a run by copying its log, so a log that begins long before its id says nothing. An id from
    the future says nothing either.
    """
    path = str(folder)
    if path in _known:
        return _known[path]
    named = _time_in_id(folder.name)
    logged = _first_event_time(path)
    if logged is None:
        return named or 0.0
    is_exact = named is not None and abs(named - logged) <= CLOCK_SECONDS
    is_copied_log = named is not None and logged + ZONE_SECONDS < named <= time.time()
    _known[path] = named if named is not None and (is_exact or is_copied_log) else logged
    return _known[path]


def order(created_at: float, run_id: str) -> tuple[bool, float, str]:
    """Return the key that orders runs by creation; a run from the future, by a wrong clock, counts as the oldest."""
    return created_at <= time.time() + CLOCK_SECONDS, created_at, run_id


def _second(at: float) -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(at))


def _time_in_id(name: str) -> float | None:
    try:
        at = datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    match = RUN_ID.match(name)
    return at + (int(match[0][-4:], 16) / _TICKS if match else 0.0)


def _first_event_time(folder: str) -> float | None:
    try:
        descriptor = os.open(f"{folder}/{EVENTS_FILE}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        lines = os.read(descriptor, _FIRST_BYTES).split(b"\n")
    except OSError:  # a pipe, a folder, or a file system that is unavailable
        return None
    finally:
        os.close(descriptor)
    for line in lines[:-1]:
        try:
            at = records.load(line, _Dated).time
        except (ValueError, RecursionError):
            continue  # a line that was cut off by a kill
        if at > 0:
            return at
    return None
