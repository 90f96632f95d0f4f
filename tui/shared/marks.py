"""A run's tags and note, stored as notes.toml in its folder, so that they are copied with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, records
from dipddpm.core.io.sanitize import printable

NOTES_FILE = "notes.toml"
MAX_BYTES = 1 << 16
MAX_TAGS = 32
MAX_NOTE = 4000
_SEPARATORS = re.compile(r"[\s,;]+")
_NOT_ALLOWED = re.compile(r"[^\w.+/-]")


class RunNotes(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content of notes.toml, made safe to show."""

    tags: tuple[str, ...] = ()
    note: str = ""


NO_NOTES = RunNotes()


def read(folder: Path) -> RunNotes:
    """Read a run's tags and note; empty if the file is missing, too large or damaged."""
    try:
        stored = records.load_toml(atomic.read(folder / NOTES_FILE, MAX_BYTES), RunNotes)
    except (OSError, ValueError, RecursionError):
        return NO_NOTES
    return RunNotes(clean_tags(stored.tags), _clean_note(stored.note))


def write(folder: Path, notes: RunNotes) -> RunNotes:
    """Replace notes.toml and return the notes as written. Raises UserError if it can't be written."""
    cleaned = RunNotes(clean_tags(notes.tags), _clean_note(notes.note))
    path = folder / NOTES_FILE
    try:
        if cleaned == NO_NOTES:
            path.unlink(missing_ok=True)
        else:
            atomic.write_atomic(path, msgspec.toml.encode(cleaned))
    except OSError as error:
        raise UserError(f"The note can't be written: {error.strerror}.", f"Check {printable(str(folder))}.") from None
    return cleaned


def parse_tags(text: str) -> tuple[str, ...]:
    """Return the tags in a typed text, separated by spaces, commas or semicolons."""
    return clean_tags(_SEPARATORS.split(text))


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the tags without duplicates, in their order, reduced to letters, digits and ``_ . + / -``."""
    clean = (_NOT_ALLOWED.sub("", tag)[:40] for tag in tags)
    return tuple(dict.fromkeys(tag for tag in clean if tag))[:MAX_TAGS]


def _clean_note(note: str) -> str:
    return "\n".join(printable(line) for line in note[:MAX_NOTE].splitlines()).strip()
