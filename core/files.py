"""Writing files so that a reader sees the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

TEMPORARY = ".tmp"
"""Ending of a file that is being written; what is left behind by a kill can be swept."""


def replace(path: Path, content: bytes | Callable[[Path], None], *, durable: bool = False) -> None:
    """Put a file in place by a rename within its folder.

    `content` is the bytes, or a function that writes the file at the path it is given. With `durable` the file and
    its folder are synced to disk before this returns. Raises OSError; the old file is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content)
        if durable:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
