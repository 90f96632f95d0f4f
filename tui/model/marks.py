"""Tags and a note that people put on a run: notes.toml in its folder, so that they travel with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from core import files, plain
from core.errors import UserError
from core.text import printable

NOTES_FILE = "notes.toml"
MAX_BYTES = 1 << 16
MAX_TAGS = 32
MAX_NOTE = 4000
_SEPARATORS = re.compile(r"[\s,;]+")
_KEPT_OUT = re.compile(r"[^\w.+/-]")


class Marks(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands in notes.toml, made safe to show."""

    tags: tuple[str, ...] = ()
    note: str = ""


NONE = Marks()


def read(folder: Path) -> Marks:
    """The run's marks; none where the file is missing, too large or damaged."""
    try:
        found = plain.load_toml(files.read(folder / NOTES_FILE, MAX_BYTES), Marks)
    except (OSError, ValueError, RecursionError):
        return NONE
    return Marks(tidy(found.tags), _lines(found.note))


def write(folder: Path, marks: Marks) -> Marks:
    """Replace notes.toml; the marks as they were written. Raises UserError where that can't be done."""
    kept = Marks(tidy(marks.tags), _lines(marks.note))
    path = folder / NOTES_FILE
    try:
        if kept == NONE:
            path.unlink(missing_ok=True)
        else:
            files.replace(path, msgspec.toml.encode(kept))
    except OSError as error:
        raise UserError(f"The note can't be written: {error.strerror}.", f"Check {printable(str(folder))}.") from None
    return kept


def parse_tags(text: str) -> tuple[str, ...]:
    """The tags in what somebody typed, parted by spaces or commas."""
    return tidy(_SEPARATORS.split(text))


def tidy(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags as they are kept: one word each, of letters, digits and ``_ . + / -``, each once, in their order."""
    clean = (_KEPT_OUT.sub("", tag)[:40] for tag in tags)
    return tuple(dict.fromkeys(tag for tag in clean if tag))[:MAX_TAGS]


def _lines(note: str) -> str:
    return "\n".join(printable(line) for line in note[:MAX_NOTE].splitlines()).strip()
