"""Text from files and from people made safe to show: no terminal escapes, no invisible or reordering characters."""

from __future__ import annotations

import textwrap
import unicodedata

_ALLOWED = {"\u200d", "\ufe0f"}
"""Joiner and variation selector, of which emoji are made."""
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, limit: int = 2000) -> str:
    """The text on one line, with every control and formatting character written out as its code, `limit` long at most.

    Escape sequences (colours, titles, links, clipboard) thereby lose their power; tabs and line ends become spaces.
    """
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return shortened if shortened.isprintable() else "".join(map(_visible, shortened))


def printable_lines(text: str) -> str:
    """The same of a text of several lines, which it keeps."""
    return "\n".join(map(printable, text.split("\n")))


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of at most `width` characters, those after the first indented."""
    # A screen may leave no room at all, for which `textwrap` raises.
    return textwrap.wrap(text, max(1, width), subsequent_indent=indent)


def printable_json(text: str) -> str:
    """The same JSON, with every control and formatting character in its strings as an escape of JSON's own."""
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _visible(character: str) -> str:
    if character.isprintable() or character in _ALLOWED:
        return character
    if character in "\t\n\r":
        return " "
    if unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    return " "
