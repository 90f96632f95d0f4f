"""Plain values checked against the types, and what is wrong with them in words for people."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from dipddpm.core.config.base import Field
from dipddpm.core.errors import UserError, suggest

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_RELATIONS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}
_REMEDY = "Give it another value; --dry-run shows the whole config."


def convert(values: Any, kind: Any, known: Iterable[Field], *, strict: bool = True) -> Any:
    """The struct that plain values make; `known` are the options that a complaint may name.

    Unless `strict`, text is read as the type that an option has. Raises UserError for a value of the wrong type or
    out of bounds, for an unknown name, a number that isn't finite, and text that no file can hold.
    """
    try:
        struct = msgspec.convert(values, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _complaint(error, list(known)) from None
    for key, value in _leaves(msgspec.to_builtins(struct)):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key} must be a finite number.", _REMEDY)
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{key} holds bytes that are no text.", "Write it in UTF-8.")
    return struct


def _complaint(error: msgspec.ValidationError, known: list[Field]) -> UserError:
    text, _, path = str(error).partition(" - at `$")
    key = re.sub(r"\[(\d+|\.\.\.)\]$", "", path.rstrip("`").removeprefix("."))  # an item of a list
    field = next((field for field in known if field.key == key), None)
    if choice := re.match(r"Invalid enum value '?(.*?)'?$", text):
        words = field.words if field else ()
        return UserError(f"{key} can't be {choice[1]!r}.", suggest(choice[1], words) if words else _REMEDY)
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        name = f"{key}.{unknown[1]}" if key else unknown[1]
        return UserError(f"There is no option {name!r}.", suggest(name, [field.key for field in known]))
    if "matching regex" in text and field:
        return UserError(f"{key} is not right.", f"It must be: {field.description}.")
    expected = re.match(r"Expected `(\w+)[^`]*`(?: (>=|>|<=|<) (\S+))?", text)
    if expected and expected[1] in _KINDS:
        bound = f" {_RELATIONS[expected[2]]} {float(expected[3].rstrip(',')):g}" if expected[2] else ""
        return UserError(f"{key or 'The config'} must be {_KINDS[expected[1]]}{bound}.", _REMEDY)
    return UserError(f"{key + ': ' if key else ''}{text}.", _REMEDY)


def _leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table or list, with its dotted key."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _leaves(value, key)
    else:
        yield key, values
