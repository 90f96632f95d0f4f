"""msgspec's complaints in words for people: which option is wrong, what it must be, and the nearest right value."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from core.config.section import Field
from core.errors import UserError, suggest

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
_RELATIONS = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}


def complaint(error: msgspec.ValidationError, known: Iterable[Field]) -> UserError:
    """The error that a person gets for a value of the wrong type, out of bounds, or of an unknown name."""
    text, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").removeprefix(".")
    field = next((field for field in known if field.key == key), None)
    if choice := re.match(r"Invalid enum value '(.*)'", text):
        choices = field.choices if field else ()
        return UserError(f"{key} can't be {choice[1]!r}.", suggest(choice[1], choices) if choices else _DEFAULTS)
    if unknown := re.match(r"Object contains unknown field `(.*)`", text):
        name = f"{key}.{unknown[1]}" if key else unknown[1]
        return UserError(f"There is no option {name!r}.", suggest(name, [field.key for field in known]))
    expected = re.match(r"Expected `(\w+)[^`]*`(?: (>=|>|<=|<) (\S+))?", text)
    if "matching regex" in text and field:
        return UserError(f"{key} is not right.", f"It must be: {field.description}.")
    if expected and expected[1] in _KINDS:
        bound = f" {_RELATIONS[expected[2]]} {float(expected[3].rstrip(',')):g}" if expected[2] else ""
        return UserError(f"{key or 'The config'} must be {_KINDS[expected[1]]}{bound}.", _DEFAULTS)
    return UserError(f"{key + ': ' if key else ''}{text}.", _DEFAULTS)


_DEFAULTS = "Give it another value; --dry-run shows the whole config."
