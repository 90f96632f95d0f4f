"""Tests of the checks of disk and file system, which must leave no file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dipddpm.core.doctor import Severity, storage
from dipddpm.core.doctor.storage import assess_disk, disk, filesystem_of, nearest_existing

MOUNTS = [
    ("/proc", "proc"), ("/", "ext4"), ("/home", "nfs4"), ("/home/a b", "tmpfs"),
    ("/home/x", "autofs"), ("/home/x", "fuse.sshfs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"), ("/homes/me", "ext4"), ("/home/me/runs", "nfs4"), ("/home/a b/runs", "tmpfs"),
        ("/home/x/runs", "fuse.sshfs"), ("/proc/self", "proc"),
    ],
)  # fmt: skip
def test_filesystem_of_takes_deepest_mount(path: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [SimpleNamespace(mountpoint=point, fstype=name) for point, name in MOUNTS]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    assert filesystem_of(Path(path)) == kind


def test_filesystem_of_system_without_list_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise OSError(2, "no such file")

    monkeypatch.setattr(psutil, "disk_partitions", fail)
    assert filesystem_of(Path("/")) == ""


@pytest.mark.parametrize(
    ("kind", "verdict", "part"),
    [
        ("ext4", Severity.ok, "ext4"), ("nfs4", Severity.note, "network"), ("overlay", Severity.note, "container"),
        ("tmpfs", Severity.note, "memory"), ("", Severity.ok, "unknown"),
    ],
)  # fmt: skip
def test_file_system_notes_network_memory_and_container(
    kind: str, verdict: Severity, part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "filesystem_of", lambda path: kind)
    (finding,) = storage.file_system(tmp_path)
    assert (finding.verdict, part in finding.message) == (verdict, True)
    assert bool(finding.remedy) == (verdict is Severity.note)


@pytest.mark.parametrize(
    ("free", "free_inodes", "seconds", "verdict"),
    [
        (100, None, 0.01, Severity.ok), (3, None, 0.01, Severity.note), (0.1, None, 0.01, Severity.problem),
        (100, 0, 0.01, Severity.problem), (100, 5, 2.0, Severity.note),
    ],
)  # fmt: skip
def test_assess_disk_grades_space_inodes_and_speed(
    free: float, free_inodes: int | None, seconds: float, verdict: Severity
) -> None:
    assert assess_disk(Path("runs"), free, 500, free_inodes, seconds).verdict is verdict


def test_disk_checks_nearest_existing_folder(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "folder"
    assert nearest_existing(missing) == tmp_path
    (finding,) = disk(missing)
    assert str(missing) in finding.message
    assert list(tmp_path.iterdir()) == []


def test_disk_reports_unwritable_folder_as_problem() -> None:
    (finding,) = disk(Path("/proc/runs"))
    assert (finding.verdict, "can't be written" in finding.message) == (Severity.problem, True)
