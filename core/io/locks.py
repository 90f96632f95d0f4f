"""Locks on open files, which the kernel releases when the process ends. Some file systems have none."""

from __future__ import annotations

import errno
import fcntl

_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
"""Errors for a lock that another process holds; EACCES is SMB's."""
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM}
"""Errors of file systems without locks, such as NFS without a lock service, FUSE and some SMB servers."""


def try_lock(descriptor: int) -> bool | None:
    """Lock a file that is open for writing, without waiting, and return whether this process now holds the lock.

    Returns None if the file system has no locks. Raises OSError if the file system fails.
    """
    return _try(descriptor, fcntl.LOCK_EX)


def try_shared_lock(descriptor: int) -> bool | None:
    """Lock a file that is open for reading as `try_lock` does, but allow other processes to share the lock."""
    return _try(descriptor, fcntl.LOCK_SH)


def _try(descriptor: int, kind: int) -> bool | None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True
