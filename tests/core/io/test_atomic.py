"""Tests of atomic writes and safe reads: a reader gets the old or the new file, and never waits on a pipe."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dipddpm.core.io import atomic


def test_write_atomic_replaces_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    atomic.write_atomic(path, b"old")
    held = path.open("rb")
    atomic.write_atomic(path, b"new")
    assert (held.read(), path.read_bytes()) == (b"old", b"new")
    held.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_atomic_writer_leaves_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "f"
    atomic.write_atomic(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic.atomic_writer(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_write_atomic_syncs_content_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    atomic.write_atomic(tmp_path / "f", b"x")
    assert [Path(name).name.endswith(atomic.TEMPORARY) for name in synced] == [True, False]
    assert synced[1] == str(tmp_path)
    atomic.write_atomic(tmp_path / "f", b"x", durable=False)
    assert len(synced) == 2


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP", "ENOSYS", "EBADF", "EACCES", "EPERM"])
def test_write_atomic_does_without_sync_of_folder(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_atomic(tmp_path / "f", b"x")
    assert (tmp_path / "f").read_bytes() == b"x"


@pytest.mark.parametrize("code", ["EINVAL", "ENOTSUP", "ENOSYS"])
def test_write_atomic_does_without_sync(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_atomic(tmp_path / "f", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("code", ["EIO", "ENOSPC", "EDQUOT"])
def test_write_atomic_reports_failed_sync(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(getattr(errno, code), code)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=code):
        atomic.write_atomic(tmp_path / "f", b"x")
    assert list(tmp_path.iterdir()) == []


def test_remove_temporaries_removes_only_temporaries(tmp_path: Path) -> None:
    for name in (".last.safetensors.123.tmp", "last.safetensors", "notes.tmp"):
        (tmp_path / name).write_text("")
    atomic.remove_temporaries(tmp_path)
    atomic.remove_temporaries(tmp_path / "nowhere")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.safetensors", "notes.tmp"]


def test_atomic_read_accepts_only_small_regular_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    (tmp_path / "link").symlink_to("f")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert atomic.read(tmp_path / "f") == atomic.read(tmp_path / "link") == b"content"
    for name in ("pipe", "loop", "nowhere", ".", "/dev/zero"):
        with pytest.raises(OSError):
            atomic.read(tmp_path / name)
    with pytest.raises(OSError, match="too large"):
        atomic.read(tmp_path / "f", limit=6)
