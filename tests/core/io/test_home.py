"""Users without a home folder or a name, as in a container that runs with `--user 12345`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.io import home


def no_entry(uid: int) -> object:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


@pytest.fixture
def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process's user one without HOME, without a name and without an entry in /etc/passwd."""
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


def test_user_folder_prefers_variable_then_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert home.user_folder("XDG_CACHE_HOME", ".cache") == Path("/xdg")
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert home.user_folder("XDG_CACHE_HOME", ".cache") == tmp_path / ".cache"


def test_user_folder_is_none_without_home(without_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home.user_folder("XDG_CACHE_HOME", ".cache") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert home.user_folder("XDG_CACHE_HOME", ".cache") == Path("/xdg")


def test_user_folder_ignores_relative_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "relative")  # each working folder would have a cache of its own
    assert home.user_folder("XDG_CACHE_HOME", ".cache") is None


def test_expand_refuses_tilde_without_home(without_home: None) -> None:
    for path in ("~", "~/x.png"):
        with pytest.raises(UserError, match="HOME is not set"):
            home.expand(path)
    assert home.expand("x.png") == Path("x.png")


def test_expand_leaves_file_names_that_begin_with_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home.expand("~/x.png") == tmp_path / "x.png"
    assert home.expand("~no such account.png") == Path("~no such account.png")
    with pytest.raises(UserError, match="home folder of no such account, and"):
        home.expand("~no such account/runs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~no such folder").mkdir()
    (tmp_path / "~no such folder" / "x.png").touch()
    assert home.expand("~no such folder/x.png") == Path("~no such folder/x.png")


def test_user_name_is_number_without_name(without_home: None) -> None:
    assert home.user_name() == str(os.getuid())
