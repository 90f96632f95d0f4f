"""The base class of all events, and the types of their fields. Loads no torch."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

SCHEMA = 1
"""The version of the schema; every line of the log names it."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
"""A number of things, an index or a size. A value out of bounds makes the line invalid."""
Timestamp: TypeAlias = Annotated[float, Meta(ge=0, le=1e11)]
"""Seconds since 1970, up to the year 5138."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """One line of events.jsonl. The log sets `time` (s since 1970), `v` (schema) and `offset` (bytes) on writing."""

    time: Timestamp = 0.0
    v: Count = 0
    offset: Count = 0
