"""Folders and files that this user may not read are named, and never taken for empty or missing ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dipddpm.core import config as configs
from dipddpm.core.data import folder
from dipddpm.core.errors import UserError
from dipddpm.core.launch.local import runs_root
from dipddpm.core.runs import Run
from tests.helpers import unprivileged


@pytest.fixture(autouse=True)
def imported(tmp_path: Path) -> None:
    """Import everything that the tests need after the change of user."""
    for call in (lambda: folder.parse(f"folder:{tmp_path}"), lambda: configs.load(tmp_path / "config.toml")):
        with pytest.raises(UserError):
            call()


def refused(call: Callable[[], object]) -> str:
    """Return the problem of the UserError that the call raises."""
    with pytest.raises(UserError) as caught:
        call()
    return caught.value.problem


def test_unreadable_folders_are_no_empty_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPDDPM_RUNS", raising=False)
    with unprivileged() as root:
        (root / "secret" / "runs").mkdir(parents=True)
        (root / "locked").mkdir()
        assert runs_root(root / "locked") == root / "locked"
        (root / "secret").chmod(0)
        (root / "locked").chmod(0)
        for path in (root / "secret" / "runs", root / "locked"):
            assert refused(partial(runs_root, path)) == f"The runs folder {path} can't be read: Permission denied."
        assert runs_root(root / "missing") == root / "missing"
        data = root / "secret" / "data"
        assert refused(lambda: folder.parse(f"folder:{data}")) == f"The folder {data} can't be read: Permission denied."
        assert "There is no folder" in refused(lambda: folder.parse(f"folder:{root / 'missing'}"))


def test_unreadable_config_is_no_wrong_path() -> None:
    with unprivileged() as root:
        file = root / "config.toml"
        with pytest.raises(UserError, match="Give the path"):
            configs.load(file)
        file.touch(mode=0)
        with pytest.raises(UserError, match=r"Permission denied.*Check its permissions"):
            configs.load(file)


@pytest.mark.parametrize("name", ["events.jsonl", "images"])
def test_run_with_unreadable_part_is_refused(name: str) -> None:
    with unprivileged() as root:
        run = Run(root)
        run.refuse_unreadable("images")  # both are missing
        (root / "images").mkdir()
        (root / "events.jsonl").touch()
        run.refuse_unreadable("images")
        (root / name).chmod(0)
        assert refused(lambda: run.refuse_unreadable("images")) == f"{root / name} can't be read: Permission denied."
