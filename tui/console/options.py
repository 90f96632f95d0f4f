"""The options of one console."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How this console was asked to behave."""

    root: Path
    cwd: Path = field(default_factory=Path.cwd)
    """Where it was started: that folder may go while the console is open."""
    run: str = ""
    readonly: bool = False
    fps: float = 4.0
    mouse: bool = True
