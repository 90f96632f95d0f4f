"""Records as JSON and TOML. JSON has no NaN or infinity: they are written as the strings "nan", "inf" and "-inf"."""

from __future__ import annotations

import codecs
import functools
import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

from dipddpm.core.io import atomic

T = TypeVar("T")

MAX_DOTS = 64
"""Largest number of dots in a line of TOML. The parser takes quadratic time over a dotted key: days for a megabyte."""
_ENCODER = msgspec.json.Encoder()


def dump(record: Any) -> bytes:
    """Return a struct, or a dict or list of structs, as one line of JSON, without a newline."""
    if _is_finite(record):
        return _ENCODER.encode(record)
    return _ENCODER.encode(_named(msgspec.to_builtins(record)))


def load(content: bytes, kind: type[T]) -> T:
    """Return the struct that a line holds. Raises ValueError (msgspec's errors are subclasses) or RecursionError."""
    try:
        return cast(T, _decoder(cast(Hashable, kind), strict=True).decode(content))
    except msgspec.ValidationError:
        # Lax decoding reads "nan" as a number, but only where a number is expected.
        return cast(T, _decoder(cast(Hashable, kind), strict=False).decode(content))


def read(path: Path, kind: type[T]) -> T | None:
    """Return the record in a small untrusted file; None if the file is missing, huge or damaged."""
    try:
        return load(atomic.read(path), kind)
    except (OSError, ValueError, RecursionError):
        return None


def load_toml(content: bytes, kind: type[T]) -> T:
    """Return the content of an untrusted TOML file as this type. Raises ValueError or RecursionError."""
    if any(line.count(b".") > MAX_DOTS for line in content.split(b"\n")):
        raise ValueError(f"a line has more than {MAX_DOTS} dots")
    return msgspec.toml.decode(content.removeprefix(codecs.BOM_UTF8), type=kind)


@functools.cache
def _decoder(kind: Hashable, *, strict: bool) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(Any, kind), strict=strict)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    elif isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return True
    return all(map(_is_finite, value))


def _named(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _named(v) for key, v in value.items()}
    return [_named(v) for v in value] if isinstance(value, list | tuple) else value
