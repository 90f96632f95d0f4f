"""Current folders and runs folders in which no command can work are refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.cli.main import main
from dipddpm.tui.console.session import Options, Session
from tests.helpers import PATIENCE_SECONDS, Build, Until

LATIN_1 = os.fsdecode(b"runs\xe9")


@pytest.fixture
def deleted_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that has been deleted."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


@pytest.mark.usefixtures("deleted_folder")
@pytest.mark.parametrize("arguments", [["ls"], ["run", "dip", "--image", "x.png"], ["sample"], ["data"], ["doctor"]])
def test_command_in_deleted_folder_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "The current folder no longer exists.\nChange to another folder with cd.\n"


def test_worker_starts_from_deleted_folder(
    runs: RunsFolder, tiny: Build, until: Until, request: pytest.FixtureRequest
) -> None:
    """A console may stay open while its folder is deleted."""
    request.getfixturevalue("deleted_folder")
    run = runs.create(tiny(ddpm__epochs=1, data__train_images=64))
    local.start(run)
    until(lambda: not run.status().state.live)
    assert run.status().state == "finished"


def test_runs_folder_that_is_not_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / LATIN_1).mkdir()
    (tmp_path / "link").symlink_to(LATIN_1)
    monkeypatch.delenv("DIPDDPM_RUNS")
    for chosen in (tmp_path / LATIN_1, tmp_path / LATIN_1 / "below", tmp_path / "link"):
        with pytest.raises(UserError, match="not in UTF-8"):
            local.runs_root(chosen)
    monkeypatch.chdir(tmp_path / LATIN_1)
    with pytest.raises(UserError, match="not in UTF-8"):
        local.runs_root(None)
    assert local.runs_root(tmp_path / "runs") == tmp_path / "runs"
    assert not Session.open(Options(root=tmp_path / "runs")).uses_default_root


@pytest.mark.parametrize("variable", ["DIPDDPM_RUNS", ""], ids=["variable", "option"])
def test_command_line_names_runs_folder_that_is_not_utf8(variable: str, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/runs\xe9"
    environment = os.environb | ({variable.encode(): folder} if variable else {})
    command = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()", "ls"]
    more = [] if variable else [b"--runs-dir", folder]
    done = subprocess.run(
        [*command, *more], env=environment, capture_output=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"The name of the runs folder is not in UTF-8: ")
    assert not list(tmp_path.glob("runs*"))
