"""Results of a long measurement, kept in a file from one command to the next, so that it can be made in parts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic

T = TypeVar("T")


def load(path: Path, results: type[T]) -> T | None:
    """What a file holds; None where there is no file. Raises UserError for a file that isn't ours."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(atomic.read(path), type=results)
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path} can't be read.", "Choose another --out.") from None


def save(path: Path, results: msgspec.Struct) -> None:
    """Put results into a file, whole or not at all. Raises OSError."""
    atomic.write_atomic(path, msgspec.json.format(msgspec.json.encode(results)) + b"\n")
