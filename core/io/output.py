"""Files and folders that a command writes for the user: refused before the work, complete or absent after it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.io.atomic import TEMPORARY, temporary_prefix
from dipddpm.core.io.sanitize import printable

REPLACE = "Replace it with --force, or choose another name."
"""The remedy for an output that exists; every command that writes one has the option --force."""
STALE_SECONDS = 24 * 3600
"""Age at which the unfinished output of a killed process is removed."""
_PROBE_BYTES = 1 << 16
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
DISK_ERRORS = {*_FORBIDDEN, errno.EIO, errno.ENODEV, errno.ESTALE}
"""Errors for which a folder's permissions or its disk are the reason, and never the program."""


class OutputExistsError(UserError):
    """The output exists already, and the user hasn't asked to replace it."""


def unwritable(path: Path, error: OSError) -> UserError:
    """Return the error for a path that can't be written, with a remedy that suits the cause."""
    problem = f"{printable(str(path))} can't be written: {error.strerror or error}."
    if error.errno in FULL_DISK:
        return UserError(problem, "Free some space, or choose another folder.")
    if error.errno in _FORBIDDEN:
        return UserError(problem, "Choose a folder that you may write to.")
    return UserError(problem, "Choose another path.")


@contextlib.contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into the UserError of `unwritable`."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from None


def refuse_file(path: Path, *, replace: bool) -> None:
    """Raise UserError, before the work, if this file can't be written or exists and must not be replaced."""
    with reporting(path):
        try:
            path.parent.stat()
        except FileNotFoundError:
            problem = f"There is no folder {printable(str(path.parent))}."
            raise UserError(problem, "Make it, or give another path.") from None
        if path.is_dir():
            raise UserError(f"{printable(str(path))} is a folder.", "Give the name of a file in it.")
        if not replace and os.path.lexists(path):
            raise OutputExistsError(f"{printable(str(path))} exists already.", REPLACE)
        probe(path.parent)


def refuse_folder(folder: Path) -> None:
    """Raise UserError, before the work, if nothing can be written to this folder, which need not exist yet."""
    with reporting(folder):
        probe(next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path)))


def probe(folder: Path) -> None:
    """Write and remove a small file in a folder. Raises OSError if that fails, for example on a full disk."""
    temporary = folder / f".{secrets.token_hex(4)}{TEMPORARY}"
    try:
        with temporary.open("xb", buffering=0) as file:
            missing = _PROBE_BYTES
            while missing > 0:  # after a short write, the next one raises the error
                missing -= file.write(bytes(missing))
            atomic.sync(file.fileno())
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def is_full(folder: Path) -> bool:
    """Return whether the disk of a folder has no space or no inode left; False if the disk can't be asked."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _PROBE_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, in which to prepare what is then moved to `path` by a rename.

    The folder is removed at the end, and if the block raises an exception, so are folders that were made for `path`.
    Raises OSError if the disk fails, also where the block raises an error of another package in its stead.
    """
    made = [folder for folder in path.absolute().parents if not folder.exists()]
    temporary = path.with_name(f"{temporary_prefix(path)}{secrets.token_hex(4)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        temporary.mkdir()
        try:
            yield temporary
        except (OSError, UserError):
            raise
        except Exception:
            probe(temporary)
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:  # the innermost first
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path at which to make a new file or folder, which replaces `path` if the block raises no exception.

    A killed process leaves `path` as it was, since the new content is synced to disk before it replaces the old one.
    Raises OSError.
    """
    with staging(path) as temporary:
        yield temporary / "new"
        sync(temporary / "new")
        _swap(temporary / "new", path, temporary / "old")


def _swap(new: Path, path: Path, old: Path) -> None:
    """Put `new` at `path`, and what was there at `old` unless a rename can replace it."""
    if not new.is_dir() and not (path.is_dir() and not path.is_symlink()):
        new.replace(path)
        return
    if os.path.lexists(path):
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if os.path.lexists(old):
            old.rename(path)
        raise


def _remove_stale(path: Path) -> None:
    """Remove the temporary folders of processes that were killed while they wrote this path."""
    for entry in path.parent.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            ours = entry.name.startswith(temporary_prefix(path))
            if ours and entry.is_dir() and time.time() - entry.lstat().st_mtime > STALE_SECONDS:
                shutil.rmtree(entry, ignore_errors=True)


def sync(path: Path) -> None:
    """Sync a file, or all files of a folder: some file systems report a full disk only now."""
    files = [Path(parent, name) for parent, _, names in os.walk(path) for name in names] if path.is_dir() else [path]
    for file in files:
        if file.is_file() and not file.is_symlink():
            atomic.sync_path(file)
