"""Files that survive what happens: written so that a reader sees the old one or the new one, whole, whatever comes in
between, and read without trust in who put them there.
"""

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


IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""What Pillow may decode. Left out are formats that run other programs (EPS) or that no photograph comes in."""


@contextlib.contextmanager
def atomic_writer(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path`, by a rename within its folder, when the block ends well.

    With `durable` the file and its folder are on disk when this returns. Raises OSError; the old file is then still
    there, and so it is after any exception.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.unlink(missing_ok=True)
        # Made anew, so that nothing that somebody put there, such as a link to elsewhere, is written through.
        with temporary.open("xb") as file:
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
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put these bytes in place of `path`, as `atomic_writer` does."""
    with atomic_writer(path, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a file that may be anybody's for reading. Raises OSError, also for a pipe, a device or a folder."""
    # Opening a pipe would wait for its other end.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read(path: Path, limit: int = 1 << 22) -> bytes:
    """The content of a small file that may be anybody's. Raises OSError, also for one that is huge or not regular."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def is_file(path: Path) -> bool:
    """Whether a file is there and can be seen; never raises, also where looking is not permitted."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """The same of a folder."""
    try:
        return path.is_dir()
    except OSError:
        return False


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed writer left half done. Nobody else may be writing in this folder meanwhile."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):  # it is only in the way of space
            path.unlink()
