from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from benchmarks.gpu import archive, wheels


def write(folder: Path, phase: str, size: int = 1000) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"phase": phase}))
    for name in ("best", "last"):
        (folder / "checkpoints" / f"{name}.safetensors").write_bytes(name.encode() * size)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pack_and_unpack_keep_everything_but_last_checkpoints_of_finished_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "VOLUME", 40_000)
    runs, output = tmp_path / "runs", tmp_path / "out"
    output.mkdir()
    write(runs / "a", "finished")
    write(runs / "b", "stopped", 10_000)
    assert archive.pack(runs, output) == []
    names = sorted(path.name for path in output.iterdir())
    assert names == ["runs.tar.0", "runs.tar.1", "runs.tar.2"], names
    archive.unpack(output, tmp_path / "new")
    expected = files(runs)
    del expected["a/checkpoints/last.safetensors"]
    assert files(tmp_path / "new") == expected
    archive.unpack(output, runs)  # runs of this machine are kept
    assert "a/checkpoints/last.safetensors" in files(runs)


def test_pack_leaves_out_whole_runs_that_exceed_the_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "VOLUME", 40_000)
    runs, output = tmp_path / "runs", tmp_path / "out"
    output.mkdir()
    write(runs / "a", "stopped", 15_000)
    write(runs / "b", "finished", 20_000)
    assert archive.pack(runs, output) == ["a"]
    archive.unpack(output, tmp_path / "new")
    assert set(files(tmp_path / "new")) == {"b/summary.json", "b/checkpoints/best.safetensors"}
    assert sum(path.stat().st_size for path in output.iterdir()) <= archive.VOLUMES * archive.VOLUME


def test_unpack_leaves_its_folder_by_no_name_and_no_link(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "runs.tar.0", "w") as tar:
        for name in ("good", "../outside", str(tmp_path / "absolute")):
            tar.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    archive.unpack(tmp_path, tmp_path / "new")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "new",
        "new/good",
        "runs.tar.0",
    ]


def test_unpack_without_archive_makes_nothing(tmp_path: Path) -> None:
    archive.unpack(tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_wheels_are_pinned() -> None:
    assert set(wheels.PACKAGES) <= set(wheels.pins())


def test_install_without_wheels_names_the_option_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--download-wheels"):
        wheels.install(tmp_path, tmp_path / "site")
