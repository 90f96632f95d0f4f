"""config.toml: a config as a file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec

from dipddpm.core.config.run import AnyRun, RunConfig
from dipddpm.core.config.schema import describe
from dipddpm.core.config.validation import convert
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, records

MAX_BYTES = 1 << 20
"""More is no config: the longest names some thousand image files."""


def to_toml(config: RunConfig) -> str:
    """The complete config, defaults included."""
    return msgspec.toml.encode(config).decode()


def load(path: Path) -> AnyRun:
    """Read a config.toml. Raises UserError for a file that can't be read, isn't TOML or doesn't fit the types."""
    try:
        values = records.load_toml(atomic.read(path, MAX_BYTES), object)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}.", "Give the path of a config.toml.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a TOML file: {error}.", "Mend the file, or take a fresh one from --dry-run."
        ) from None
    return from_builtins(values)


def from_builtins(values: Any) -> AnyRun:
    """Check plain values (of a TOML or JSON file) against the types.

    Raises UserError naming the key at fault; values are never coerced.
    """
    kind = _word(values, "kind")
    if kind is None:
        raise UserError("The config has no kind.", "Take a fresh one from --dry-run.")
    known = describe(kind, _word(values, "hybrid", "method"), _word(values, "task", "name"))
    return cast(AnyRun, convert(values, AnyRun, known))


def _word(values: Any, *path: str) -> str | None:
    """The word that stands there, or None; what isn't text is left to the types to complain of."""
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, str) else None
