"""Completion of paths to pictures and folders as they are typed. Reads the disk."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Iterable
from pathlib import PurePath
from typing import NamedTuple

from dipddpm.core.data.scan import SUFFIXES
from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.io.sanitize import printable

PICTURES = SUFFIXES | {".npy"}
"""Endings of the files that are offered, in lower case."""
_QUOTES = "'\""


class Completion(NamedTuple):
    """The text, completed as far as all candidates agree, and the names of the candidates."""

    text: str
    names: tuple[str, ...] = ()
    """Folders end in a slash."""


def complete(text: str, *, several: bool = False, folders_only: bool = False) -> Completion:
    """Complete a path, or the last of several paths that are written as in a shell.

    Folders and pictures are offered, hidden ones only after a dot. `~` stays as it is typed.
    """
    before, path = _last_word(text) if several else ("", text)
    path = "~/" if path == "~" else path
    folder, _, start = path.rpartition("/")
    names = _candidates(f"{folder}/" if "/" in path else ".", start, folders_only=folders_only)
    if not names:
        return Completion(text)
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(names[0], names[-1], strict=False))
    common = "".join(first for first, _ in pairs)  # of sorted names, the first and the last differ most
    if not common.startswith(start):  # the names differ from the typed text in upper and lower case
        common = names[0] if len(names) == 1 else start
    whole = path[: len(path) - len(start)] + common
    return Completion(before + (_quoted(whole) if several else whole), tuple(names))


def _candidates(folder: str, start: str, *, folders_only: bool) -> list[str]:
    """Return the names in a folder that continue `start`; without regard to upper and lower case if none does so."""
    names: list[str] = []
    try:
        with os.scandir(home.expand(folder)) as entries:
            for entry in entries:
                is_hidden = entry.name.startswith(".") and not start.startswith(".")
                if is_hidden or printable(entry.name) != entry.name:
                    continue
                if entry.is_dir():
                    names.append(f"{entry.name}/")
                elif not folders_only and PurePath(entry.name).suffix.lower() in PICTURES:
                    names.append(entry.name)
    except (OSError, UserError):
        return []
    exact = [name for name in names if name.startswith(start)]
    return sorted(exact or [name for name in names if name.casefold().startswith(start.casefold())])


def _last_word(text: str) -> tuple[str, str]:
    """Return what comes before the last word, and this word without its quotes, of which the last may be open."""
    word, began, quote, position = "", 0, "", 0
    while position < len(text):
        character, following = text[position], text[position + 1 : position + 2]
        if character == "\\" and following and (not quote or (quote == '"' and following in '"\\')):
            position += 1
            word += following
        elif quote:
            quote, word = ("", word) if character == quote else (quote, word + character)
        elif character in _QUOTES:
            quote = character
        elif character.isspace():
            word, began = "", position + 1
        else:
            word += character
        position += 1
    return text[:began], word


def _quoted(path: str) -> str:
    """Return a path as a word of a shell; a leading `~/` is left outside the quotes, where a shell expands it."""
    if path.startswith("~/"):
        return "~/" + (shlex.quote(path[2:]) if path[2:] else "")
    return shlex.quote(path)


def listed(names: Iterable[str], width: int) -> str:
    """Return as many names as fit into `width` columns, and how many more there are."""
    names = list(names)
    shown = 0
    while shown < len(names) and len("  ".join(names[: shown + 1])) <= width - 10:
        shown += 1
    shown = max(shown, 1)
    return "  ".join([*names[:shown], *([f"and {len(names) - shown} more"] if shown < len(names) else [])])
