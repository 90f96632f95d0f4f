"""Tests of events as lines: every event is read back as written, and a reader skips unknown fields and kinds."""

from __future__ import annotations

import json
import math
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import events
from dipddpm.core.events import Event, Payload

KINDS = events.EVENT_TYPES

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
VALUES = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: NUMBERS,
    str: TEXT,
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    if hint in VALUES:
        return VALUES[hint]
    if typing.get_origin(hint) is typing.Annotated:
        (bounds,) = hint.__metadata__
        return st.integers(bounds.ge, bounds.le)
    if typing.get_origin(hint) is dict:
        return st.dictionaries(*map(values, typing.get_args(hint)), max_size=4)
    if typing.get_origin(hint) is tuple:
        return st.lists(values(typing.get_args(hint)[0]), max_size=4).map(tuple)
    arms = st.one_of([values(arm) for arm in typing.get_args(hint)])
    return st.lists(arms, max_size=4) if typing.get_origin(hint) is list else arms


def event_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind, include_extras=True)
    given_time = {"time": st.floats(1, 4e9), "v": st.just(events.SCHEMA)}
    fields = {name: given_time[name] if name in given_time else values(hints[name]) for name in kind.__struct_fields__}
    return st.builds(kind, **fields)


any_event = st.one_of([event_of(kind) for kind in KINDS])


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal, with NaN equal to NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@given(any_event)
def test_encode_round_trips_every_event(event: Event) -> None:
    line = events.encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    again = events.decode(line)
    assert type(again) is type(event)
    assert all(map(same, msgspec.structs.astuple(again), msgspec.structs.astuple(event)))


@given(any_event)
def test_encode_writes_strict_json(event: Event) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    read = json.loads(events.encode(event), parse_constant=refuse)
    assert read["event"] == type(event).__struct_config__.tag
    assert read["v"] == events.SCHEMA
    assert read["time"] > 0


def test_stamped_adds_time_version_and_offset() -> None:
    read = json.loads(events.encode(events.stamped(events.Message(text="hello"), offset=7)))
    assert read["time"] > 1.7e9
    assert (read["v"], read["offset"]) == (events.SCHEMA, 7)


def test_encode_adds_nothing_to_event(monkeypatch: pytest.MonkeyPatch) -> None:
    event = events.Message(text="hello")
    first = events.encode(event)
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert events.encode(event) == first == b'{"event":"message","text":"hello"}\n'


def test_encode_writes_non_finite_numbers_as_words() -> None:
    event = events.PsnrMeasured(step=1, psnr=[math.nan, 20.5, math.inf], mean=-math.inf)
    read = json.loads(events.encode(event))
    assert read["psnr"] == ["nan", 20.5, "inf"]
    assert read["mean"] == "-inf"


@given(any_event, st.dictionaries(TEXT.map("x_".__add__), st.none() | st.integers() | TEXT, min_size=1, max_size=3))
def test_decode_skips_fields_of_later_version(event: Event, extra: dict[str, Any]) -> None:
    read = json.loads(events.encode(event)) | extra
    again = events.decode(json.dumps(read).encode())
    assert again is not None
    assert all(map(same, msgspec.structs.astuple(again), msgspec.structs.astuple(event)))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"step"',
        b"{}",
        b'{"event":"of_tomorrow","step":1}',
        b'{"event":"step"}',
        b'{"event":"step","step":"many"}',
        b'{"event":"step","step":1,"loss":[]}',
        b'{"event":"step","step":1',
        b'{"event":"message","text":"\xff"}',
        b"\x00" * 50,
        b"[" * 100_000,
    ],
)
def test_decode_gives_none_for_other_lines(line: bytes) -> None:
    assert events.decode(line) is None


@given(st.binary(max_size=200))
def test_decode_never_raises(line: bytes) -> None:
    assert events.decode(line) is None or line.lstrip().startswith(b"{")


def test_event_types_cover_every_kind() -> None:
    """A kind that is missing from `EVENT_TYPES` would be written but never read."""
    defined = {
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }
    assert defined == set(KINDS)
    assert not any(issubclass(kind, Payload) for kind in KINDS)


def test_payload_cannot_be_encoded() -> None:
    payload = events.Pictures(name="samples", images=object())
    assert not isinstance(payload, Event)
    with pytest.raises(TypeError):
        events.encode(payload)  # type: ignore[arg-type]
