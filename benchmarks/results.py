"""A JSON file of a long measurement's results, which several commands can fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic

T = TypeVar("T")


def load(path: Path, results: type[T]) -> T | None:
    """Read results; return None if there is no file. Raises UserError for a file without such results."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(atomic.read(path), type=results)
    except (OSError, ValueError, RecursionError):
        raise UserError(f"The file {path} can't be read.", "Choose another --out.") from None


def save(path: Path, results: Any) -> None:
    """Write results atomically. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_atomic(path, msgspec.json.format(msgspec.json.encode(results)) + b"\n")
