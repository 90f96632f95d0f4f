"""Writing files so that a reader sees the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"
"""Ending of a file that is being written; what a kill leaves behind can be swept by it."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path`, by a rename within its folder, when the block ends well.

    The file's `name` is a path that can be written by other means too. With `durable` the file and its folder are
    on disk when this returns. Raises OSError; the old file is then still there, and so it is after any exception.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
        if durable:
            sync(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put these bytes in place of `path`; as `replacing`."""
    with replacing(path, durable=durable) as file:
        file.write(content)


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
