"""Tests of output files: refused before the work, complete or absent after it, and never replaced without asking."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.io import output


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_refuse_file_accepts_new_file_and_leaves_nothing(tmp_path: Path) -> None:
    output.refuse_file(tmp_path / "new.png", replace=False)
    assert list(tmp_path.iterdir()) == []


def test_refuse_file_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("nowhere")
    for name, words in {
        "old.png": "exists already",
        "link.png": "exists already",
        "folder.png": "is a folder",
        "missing/new.png": "There is no folder",
        "old.png/new.png": "Not a directory",
        f"{'x' * 300}.png": "File name too long",
    }.items():
        with pytest.raises(UserError, match=words):
            output.refuse_file(tmp_path / name, replace=False)
    output.refuse_file(tmp_path / "old.png", replace=True)
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EROFS, "Choose a folder that you may write to"),
        (errno.EACCES, "Choose a folder that you may write to"),
        (errno.EIO, "Choose another path"),
    ],
)
def test_refusal_has_remedy_for_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str) -> None:
    def fail(_: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(output, "probe", fail)
    for refuse in (
        lambda: output.refuse_file(tmp_path / "x.png", replace=False),
        lambda: output.refuse_folder(tmp_path),
    ):
        with pytest.raises(UserError) as refused:
            refuse()
        assert os.strerror(code) in refused.value.problem
        assert remedy in refused.value.remedy


def test_refuse_folder_makes_nothing(tmp_path: Path) -> None:
    output.refuse_folder(tmp_path / "a/b/c")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"):
        output.refuse_folder(tmp_path / "file/b")


@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link"])
@pytest.mark.parametrize("made", ["file", "folder"])
def test_replacing_swaps_files_and_folders(tmp_path: Path, before: str, made: str) -> None:
    path, outside = tmp_path / "a/b/target", tmp_path / "outside"
    outside.write_text("untouched")
    if before != "nothing":
        path.parent.mkdir(parents=True)
    if before == "file":
        path.write_text("old")
    elif before == "folder":
        path.mkdir()
        (path / "old").write_text("old")
    elif before == "link":
        path.symlink_to(outside)
    with output.replacing(path) as new:
        assert before == "nothing" or os.path.lexists(path), "the old one vanished too early"
        if made == "folder":
            new.mkdir()
            (new / "content").write_text("new")
        else:
            new.write_text("new")
    expected = {"a/b/target/content" if made == "folder" else "a/b/target": b"new"}
    assert everything(tmp_path) == {**expected, "outside": b"untouched"}
    assert [entry.name for entry in path.parent.iterdir()] == ["target"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space"), UserError("a", "b"), RuntimeError("bug"), KeyboardInterrupt()]
)
def test_replacing_keeps_old_content_on_any_error(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "old").write_text("old")
    for path in (tmp_path / "old", tmp_path / "new/folder/file"):
        with pytest.raises(type(error)), output.replacing(path) as new:
            new.write_text("half")
            raise error
    assert everything(tmp_path) == {"old": b"old"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]


def test_replacing_reports_full_disk_of_the_last_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"), output.replacing(tmp_path / "old") as new:
        new.write_text("new")
    assert everything(tmp_path) == {"old": b"old"}


def test_replacing_reports_full_disk_that_another_package_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "probe", full)
    with pytest.raises(OSError, match="No space"), output.replacing(tmp_path / "file"):
        raise AttributeError("'Stream' object has no attribute 'pos'")
    assert list(tmp_path.iterdir()) == []


def test_replacing_removes_only_old_leftovers_of_the_same_path(tmp_path: Path) -> None:
    names = [".target.0123.tmp", ".target.4567.tmp", ".other.0123.tmp"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "new").write_text("half")
    old = time.time() - output.STALE_SECONDS - 60
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (old, old))
    with output.replacing(tmp_path / "target") as new:
        new.write_text("new")
    assert {entry.name for entry in tmp_path.iterdir()} == {names[1], names[2], "target"}
