"""Writing files so that a reader sees the old one or the new one, whole, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"
"""Ending of a file that is being written; what a kill leaves behind can be swept by it."""


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path`, by a rename within its folder, when the block ends well.

    With `durable` the file and its folder are on disk when this returns. Raises OSError; the old file is then still
    there, and so it is after any exception.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put these bytes in place of `path`; as `replacing`."""
    with replacing(path, durable=durable) as file:
        file.write(content)


def read(path: Path, limit: int = 1 << 22) -> bytes:
    """The content of a small file that may be anybody's. Raises OSError, also for a pipe, a device or a huge file."""
    # Opening a pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return file.read(limit)


def sweep(folder: Path) -> None:
    """Remove what a killed writer left half done. Nobody else may be writing in this folder meanwhile."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
