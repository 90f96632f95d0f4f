"""Text from files and people, made safe to display: no terminal escapes, no invisible or reordering characters."""

from __future__ import annotations

import textwrap
import unicodedata

_ALLOWED = {"\u200d", "\ufe0f"}
"""The joiner and the variation selector, which are parts of emoji."""
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, limit: int = 2000) -> str:
    """Cut the text to `limit` characters and return it on one line, with control and formatting characters as codes.

    This disarms escape sequences (colours, titles, links, clipboard); tabs and line ends become spaces.
    """
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    return shortened if shortened.isprintable() else "".join(map(_visible, shortened))


def printable_lines(text: str) -> str:
    """Apply `printable` to each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Wrap the text into lines of at most `width` characters; all lines but the first are indented."""
    # A small screen may leave a width of 0, for which `textwrap` raises.
    return textwrap.wrap(text, max(1, width), subsequent_indent=indent, break_on_hyphens=False)


def printable_json(text: str, *, ascii_only: bool = False) -> str:
    """Return the same JSON with every control and formatting character in its strings as a JSON escape."""
    return "".join(
        c if (c.isprintable() or c == "\n") and (c.isascii() or not ascii_only) else _escaped(c) for c in text
    )


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
