"""The disk that runs are kept on: whether they can be written, how much is free, and what kind of file system it is."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from core.doctor.finding import Finding, note, ok, problem

LEAST_GB, LITTLE_GB = 0.2, 5.0
"""Below the first a run hardly ends; a large run's checkpoints and images may take the second."""
SLOW_SYNC_SECONDS = 0.5
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "afs",
    "9p",
    "fuse.sshfs",
    "fuse.glusterfs",
}
IN_MEMORY = {"tmpfs", "ramfs"}
OF_CONTAINERS = {"overlay", "aufs"}


def disk(root: Path) -> Iterator[Finding]:
    """Write a small file there, as a checkpoint is written, and see what is free."""
    place = existing(root)
    seconds = _try_writing(place)
    if isinstance(seconds, str):
        told = f"{place} can't be written: {seconds}"
        yield problem("disk", told, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
        return
    about = os.statvfs(place)
    free, total = about.f_bavail * about.f_frsize / 1e9, about.f_blocks * about.f_frsize / 1e9
    yield judge_disk(root, free, total, about.f_favail if about.f_files else None, seconds)


def judge_disk(root: Path, free: float, total: float, names: int | None, seconds: float) -> Finding:
    """`free` of `total` GB; `names` more files can be made (None: any number); a checkpoint's sync took `seconds`."""
    told = f"{free:,.1f} of {total:,.0f} GB free where runs are kept, {root}"
    if free < LEAST_GB or names == 0:
        told += "; no more files can be made" * (names == 0)
        return problem("disk", told, "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.")
    if free < LITTLE_GB:
        return note("disk", told, "D in the console shows what takes it up, and gives up what only resuming needs.")
    if seconds > SLOW_SYNC_SECONDS:
        told += f"; writing a small file for good takes {seconds:.1f} s"
        return note("disk", told, "Checkpoints wait for the disk: raise checkpoint_seconds, or choose a faster one.")
    return ok("disk", told)


def file_system(root: Path) -> Iterator[Finding]:
    """What follows from the kind of file system."""
    try:
        mounts = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        yield ok("file system", "not told by this system")
        return
    yield judge_file_system(mounted(mounts, existing(root).resolve()))


def judge_file_system(kind: str) -> Finding:
    """What follows from this kind, by the kernel's name for it."""
    if kind in NETWORK:
        told = f"{kind}, a network file system: runs of other machines are seen, a few seconds late"
        return note("file system", told, "A worker elsewhere counts as crashed a minute after its last sign of life.")
    if kind in IN_MEMORY:
        told = f"{kind}: runs lie in memory, take it up, and are gone after a reboot"
        return note("file system", told, "Choose a folder on a disk with --runs-dir or DIPDDPM_RUNS.")
    if kind in OF_CONTAINERS:
        told = f"{kind}: runs lie in this container, and are gone with it"
        return note("file system", told, "Mount a folder of the host, and name it with --runs-dir or DIPDDPM_RUNS.")
    return ok("file system", kind or "not told by this system")


def mounted(mounts: str, path: Path) -> str:
    """The kind of the file system that holds a path, by the text of /proc/self/mountinfo: the last, deepest mount."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        # Blanks and the like stand there as \040.
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))


def _try_writing(place: Path) -> float | str:
    """The seconds that a small file takes until it is on disk, or why it can't be written."""
    began = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return time.perf_counter() - began
