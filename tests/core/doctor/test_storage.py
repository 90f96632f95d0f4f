"""Disk and file system: what is told of each, and that nothing is left behind."""

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
    ("kind", "verdict", "told"),
    [
        ("ext4", Severity.ok, "ext4"), ("nfs4", Severity.note, "network"), ("overlay", Severity.note, "container"),
        ("tmpfs", Severity.note, "memory"), ("", Severity.ok, "not told"),
    ],
)  # fmt: skip
def test_file_system_notes_network_memory_and_container(
    kind: str, verdict: Severity, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "filesystem_of", lambda path: kind)
    (found,) = storage.file_system(tmp_path)
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
