"""Disk and file system: what is told of each, and that nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from dipddpm.core.doctor import Severity, storage
from dipddpm.core.doctor.storage import assess_disk, assess_file_system, disk, filesystem_of, nearest_existing

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
28 27 0:30 / /home rw - nfs4 server:/home rw
29 28 0:31 / /home/a\040b rw - tmpfs tmpfs rw
30 27 0:40 / /home/x rw - autofs auto rw
31 30 0:41 / /home/x rw - fuse.sshfs far: rw
torn"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"), ("/homes/me", "ext4"), ("/home/me/runs", "nfs4"), ("/home/a b/runs", "tmpfs"),
        ("/home/x/runs", "fuse.sshfs"), ("/proc/self", "proc"),
    ],
)  # fmt: skip
def test_filesystem_of_takes_deepest_mount(path: str, kind: str) -> None:
    assert filesystem_of(MOUNTS, Path(path)) == kind


def test_filesystem_of_matches_psutil(tmp_path: Path) -> None:
    ours = storage.MOUNTS.read_text()
    points = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    deepest = max((point for point in points if tmp_path.resolve().is_relative_to(point)), key=len)
    assert filesystem_of(ours, tmp_path.resolve()) == points[deepest]


@pytest.mark.parametrize(
    ("kind", "verdict", "told"),
    [
        ("ext4", Severity.ok, "ext4"), ("nfs4", Severity.note, "network"), ("overlay", Severity.note, "container"),
        ("tmpfs", Severity.note, "memory"), ("", Severity.ok, "not told"),
    ],
)  # fmt: skip
def test_assess_file_system_notes_network_memory_and_container(kind: str, verdict: Severity, told: str) -> None:
    found = assess_file_system(kind)
    assert (found.verdict, told in found.told) == (verdict, True)
    assert bool(found.remedy) == (verdict is Severity.note)


@pytest.mark.parametrize(
    ("free", "names", "seconds", "verdict"),
    [
        (100, None, 0.01, Severity.ok), (3, None, 0.01, Severity.note), (0.1, None, 0.01, Severity.problem),
        (100, 0, 0.01, Severity.problem), (100, 5, 2.0, Severity.note),
    ],
)  # fmt: skip
def test_assess_disk_grades_space_names_and_speed(
    free: float, names: int | None, seconds: float, verdict: Severity
) -> None:
    assert assess_disk(Path("runs"), free, 500, names, seconds).verdict is verdict


def test_disk_checks_nearest_existing_folder(tmp_path: Path) -> None:
    wanted = tmp_path / "not" / "yet"
    assert nearest_existing(wanted) == tmp_path
    (found,) = disk(wanted)
    assert str(wanted) in found.told
    assert list(tmp_path.iterdir()) == []


def test_disk_reports_unwritable_folder_as_problem() -> None:
    (found,) = disk(Path("/proc/here"))
    assert (found.verdict, "can't be written" in found.told) == (Severity.problem, True)
