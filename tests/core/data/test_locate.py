from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dipddpm.core.data import NAMES, cache_folder, status

if TYPE_CHECKING:
    from tests.core.data.conftest import Published


def test_cache_folder_follows_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("DIPDDPM_DATA", "/chosen")
    assert cache_folder() == Path("/chosen")
    monkeypatch.delenv("DIPDDPM_DATA")
    assert cache_folder() == Path("/xdg/dipddpm")
    for unusable in ("relative/path", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert cache_folder() == tmp_path / ".cache" / "dipddpm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "dipddpm"


def test_status_lists_present_sets_and_remedies(published: Published, tmp_path: Path) -> None:
    assert [line.name for line in status()] == list(NAMES)
    assert [line.name for line in status() if line.present] == ["fashion-mini"]
    for line in status():
        assert bool(line.where) == line.present == (line.remedy == "")
        assert line.licence and line.size.endswith("MB")

    folder = published.write(tmp_path / "given")
    found = {line.name: line for line in status(tmp_path / "given")}
    assert found["fashionmnist"].where == str(folder)
    assert (found["fashionmnist"].train, found["fashionmnist"].test) == (30, 20)
    assert not found["mnist"].present  # its files have the same names


def test_status_marks_set_with_missing_file_absent(published: Published, bare_machine: Path) -> None:
    folder = published.write(bare_machine / "fashionmnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not next(line for line in status() if line.name == "fashionmnist").present
