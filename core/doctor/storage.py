"""The disk that runs are kept on: whether they can be written, how much is free, and what kind of file system it is."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core.doctor.finding import Finding, note, ok, problem

LEAST_GB, LITTLE_GB = 0.2, 5.0
"""Below the first a run hardly ends; a large run's checkpoints and images may take the second."""
SLOW_SYNC_SECONDS = 0.5
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p"}
NETWORK |= {"fuse.sshfs", "fuse.glusterfs"}
NOTES = (
    (
        NETWORK,
        "{}, a network file system: runs of other machines are seen, a few seconds late",
        "A worker elsewhere counts as crashed a minute after its last sign of life.",
    ),
    (
        {"tmpfs", "ramfs"},
        "{}: runs lie in memory, take it up, and are gone after a reboot",
        "Choose a folder on a disk with --runs-dir or DIPDDPM_RUNS.",
    ),
    (
        {"overlay", "aufs"},
        "{}: runs lie in this container, and are gone with it",
        "Mount a folder of the host, and name it with --runs-dir or DIPDDPM_RUNS.",
    ),
)
"""Kinds of file systems, by the kernel's names for them, with what follows from each and what to do about it."""


def disk(root: Path) -> Iterator[Finding]:
    """Write a small file there, as a checkpoint is written, and see what is free."""
    folder = nearest_existing(root)
    began = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        message = f"{folder} can't be written: {error.strerror or error}"
        yield problem("disk", message, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
        return
    seconds = time.perf_counter() - began
    usage = os.statvfs(folder)
    free, total = usage.f_bavail * usage.f_frsize / 1e9, usage.f_blocks * usage.f_frsize / 1e9
    yield assess_disk(root, free, total, usage.f_favail if usage.f_files else None, seconds)


def assess_disk(root: Path, free: float, total: float, free_inodes: int | None, seconds: float) -> Finding:
    """`free` of `total` GB; `free_inodes` more files can be made (None: any number); a sync took `seconds`."""
    message = f"{free:,.1f} of {total:,.0f} GB free where runs are kept, {root}"
    if free < LEAST_GB or free_inodes == 0:
        message += "; no more files can be made" * (free_inodes == 0)
        return problem("disk", message, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
    if free < LITTLE_GB:
        return note("disk", message, "D in the console shows what takes it up, and gives up what only resuming needs.")
    if seconds > SLOW_SYNC_SECONDS:
        message += f"; writing a small file for good takes {seconds:.1f} s"
        return note("disk", message, "Checkpoints wait for the disk: raise checkpoint_seconds, or choose a faster one.")
    return ok("disk", message)


def file_system(root: Path) -> Iterator[Finding]:
    """What follows from the kind of file system."""
    kind = filesystem_of(nearest_existing(root).resolve())
    for kinds, message, remedy in NOTES:
        if kind in kinds:
            yield note("file system", message.format(kind), remedy)
            return
    yield ok("file system", kind or "not told by this system")


def filesystem_of(path: Path) -> str:
    """The kind of the file system that holds a path: that of the last, deepest mount; empty where none is listed."""
    import psutil

    try:
        mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    except OSError:
        return ""
    deepest = max(reversed(mounts), key=lambda mount: len(Path(mount.mountpoint).parts), default=None)
    return deepest.fstype if deepest else ""


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
