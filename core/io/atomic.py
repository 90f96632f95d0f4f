"""Atomic writes, so that a reader gets the whole old file or the whole new one, and safe reads of untrusted files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; `remove_temporaries` removes the ones that a killed process left behind."""
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of a sync that a file system doesn't support, such as some kinds of FUSE."""
_NO_READER_SYNC = {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}
"""Errors of opening or syncing what is open only for reading, on SMB or without the permission to read it."""
IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""Formats that Pillow may decode. Formats that run other programs (EPS) or never hold photographs are left out."""


def temporary_prefix(path: Path) -> str:
    """Return the beginning of the names of temporary files for a path; it is short enough if the path's own name is."""
    return f".{os.fsencode(path.name)[:100].decode(errors='ignore')}."


@contextlib.contextmanager
def atomic_writer(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a new file that replaces `path`, by a rename within its folder, when the block ends without an exception.

    With `durable`, the file and its folder are synced to disk before this returns. Raises OSError. If the block or the
    writing of the file raises an exception, the old file is unchanged.
    """
    temporary = path.with_name(f"{temporary_prefix(path)}{os.getpid()}{TEMPORARY}")
    try:
        temporary.unlink(missing_ok=True)
        # Mode "x" creates the file, so a link that somebody left at this path is never followed.
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                sync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_path(path.parent)


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace the content of `path` with these bytes, as `atomic_writer` does."""
    with atomic_writer(path, durable=durable) as file:
        file.write(content)


def sync(descriptor: int) -> None:
    """Wait until a file's content is on the disk, if the file system supports that. Raises OSError if writing fails."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_path(path: Path) -> None:
    """Wait until a file, or the renames in a folder, are on the disk, if file system and permissions allow that."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC | _NO_READER_SYNC:
            raise


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open an untrusted file for reading. Raises OSError, also for a pipe, a device or a folder."""
    # Without O_NONBLOCK, opening a pipe would wait for its other end.
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
    """Return the content of an untrusted file of at most `limit` bytes. Raises OSError, also if it isn't regular."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def is_file(path: Path) -> bool:
    """Return whether the path is a file; False, never an error, if the permissions forbid the check."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Return whether the path is a folder; False, never an error, if the permissions forbid the check."""
    try:
        return path.is_dir()
    except OSError:
        return False


def remove_temporaries(folder: Path) -> None:
    """Remove the unfinished files of killed writers. No other process may be writing in this folder meanwhile."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):  # a file that stays only takes up space
            path.unlink()
