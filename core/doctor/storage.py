"""Checks of the runs folder's disk: whether it is writable and fast, its free space, and its file system."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core.doctor.finding import Finding, note, ok, problem
from dipddpm.core.io import atomic

LEAST_GB, LITTLE_GB = 0.2, 5.0
"""Free space in GB: below the first a run can hardly finish; a large run may need the second."""
SLOW_SYNC_SECONDS = 0.5
"""Duration of a synchronised write of a small file above which a note warns."""
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p"}
NETWORK |= {"fuse.sshfs", "fuse.glusterfs"}
NOTES = (
    (
        NETWORK,
        "{}, a network file system: runs of other machines appear with a delay of a few seconds",
        "A worker on another machine counts as crashed a minute after its last heartbeat.",
    ),
    (
        {"tmpfs", "ramfs"},
        "{}: runs are stored in memory, and are lost at a reboot",
        "Choose a folder on a disk with --runs-dir or DIPDDPM_RUNS.",
    ),
    (
        {"overlay", "aufs"},
        "{}: runs are stored in this container, and are lost with it",
        "Mount a folder of the host, and choose it with --runs-dir or DIPDDPM_RUNS.",
    ),
)
"""Kinds of file systems by the kernel's names, each with a message and a remedy."""


def disk(root: Path) -> Iterator[Finding]:
    """Write a small file in the runs folder like a checkpoint, and check the free space."""
    folder = nearest_existing(root)
    began = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            atomic.sync(file.fileno())
    except OSError as error:
        message = f"{folder} can't be written: {error.strerror or error}"
        yield problem("disk", message, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
        return
    seconds = time.perf_counter() - began
    usage = os.statvfs(folder)
    free, total = usage.f_bavail * usage.f_frsize / 1e9, usage.f_blocks * usage.f_frsize / 1e9
    yield assess_disk(root, free, total, usage.f_favail if usage.f_files else None, seconds)


def assess_disk(root: Path, free: float, total: float, free_inodes: int | None, seconds: float) -> Finding:
    """Assess the disk: `free` of `total` GB, free inodes (None: no limit), and the seconds of a synchronised write."""
    message = f"{free:,.1f} of {total:,.0f} GB free for runs in {root}"
    if free < LEAST_GB or free_inodes == 0:
        message += "; no more files can be created" * (free_inodes == 0)
        return problem("disk", message, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
    if free < LITTLE_GB:
        remedy = "Press D in the console to see which runs use the space, and to delete files that only resuming needs."
        return note("disk", message, remedy)
    if seconds > SLOW_SYNC_SECONDS:
        message += f"; a synchronised write of a small file takes {seconds:.1f} s"
        return note("disk", message, "Checkpoints are slow there, so a run stores fewer of them: choose a faster disk.")
    return ok("disk", message)


def file_system(root: Path) -> Iterator[Finding]:
    """Check the kind of the runs folder's file system."""
    kind = filesystem_of(nearest_existing(root).resolve())
    for kinds, message, remedy in NOTES:
        if kind in kinds:
            yield note("file system", message.format(kind), remedy)
            return
    yield ok("file system", kind or "unknown")


def filesystem_of(path: Path) -> str:
    """Return the kind of a path's file system, from its deepest and latest mount; empty if no mount is listed."""
    import psutil

    try:
        mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    except OSError:
        return ""
    deepest = max(reversed(mounts), key=lambda mount: len(Path(mount.mountpoint).parts), default=None)
    return deepest.fstype if deepest else ""


def nearest_existing(folder: Path) -> Path:
    """Return the folder itself, or its nearest parent that exists."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
