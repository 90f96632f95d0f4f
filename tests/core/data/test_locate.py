from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dipddpm.core.data import CATALOGUE, cache_folder, fetch, locations
from dipddpm.core.errors import UserError
from dipddpm.core.io import home

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


def test_user_without_home_has_no_cache_but_shipped_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPDDPM_DATA")
    monkeypatch.setattr(home, "user_folder", lambda variable, below: None)
    assert [name for name, folder in locations().items() if folder] == ["fashion-mini"]
    assert not cache_folder().exists()
    with pytest.raises(NotADirectoryError):
        cache_folder().mkdir(parents=True)
    with pytest.raises(UserError, match="Set DIPDDPM_DATA"):
        fetch("mnist")


def test_locations_list_folder_of_each_present_set(published: Published, tmp_path: Path) -> None:
    assert list(locations()) == list(CATALOGUE)
    assert [name for name, folder in locations().items() if folder] == ["fashion-mini"]

    folder = published.write(tmp_path / "given")
    folders = locations(tmp_path / "given")
    assert folders["fashionmnist"] == folder
    assert folders["mnist"] is None  # its files have the same names


def test_locations_omit_set_with_missing_file(published: Published, bare_machine: Path) -> None:
    folder = published.write(bare_machine / "fashionmnist")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert locations()["fashionmnist"] is None
