"""Events as JSON lines: `stamped` adds the time, `encode` writes, `decode` reads without trust."""

from __future__ import annotations

import time
from typing import TypeVar, cast

import msgspec

from dipddpm.core.events.event import AnyEvent, Event
from dipddpm.core.io import records

SCHEMA = 1
"""The version of the schema, which every line names."""
E = TypeVar("E", bound=Event)


def stamped(event: E, offset: int = 0) -> E:
    """Copy the event with the schema's version, its offset in the log and, unless it has one, the time."""
    return msgspec.structs.replace(event, time=event.time or time.time(), v=SCHEMA, offset=offset)


def encode(event: Event) -> bytes:
    """One JSON line with its newline. It holds the event as it is, so that equal events give equal lines."""
    return records.dump(event) + b"\n"


def decode(line: bytes) -> AnyEvent | None:
    """The event of a line; None for a kind that this version doesn't know, or for a line that is no event."""
    try:
        return cast(AnyEvent, records.load(line, cast(type, AnyEvent)))
    except (ValueError, RecursionError):
        return None
