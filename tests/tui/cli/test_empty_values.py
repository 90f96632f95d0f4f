"""Empty values of options, such as that of a shell's unset variable, are refused by name before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from dipddpm.core import config as configs
from dipddpm.core.errors import UserError
from dipddpm.core.launch import preflight
from dipddpm.tui.cli.main import app, main

GROUP: Any = typer.main.get_command(app)
OPTIONS = [
    (name, option.opts[0])
    for name, command in GROUP.commands.items()
    if not hasattr(command, "commands")
    for option in command.params
    if option.param_type_name == "option" and not option.is_flag and option.name not in {"name", "group"}
]


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=" ".join)
def test_command_refuses_an_empty_option(
    command: str, option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([option, ""], [f"{option}="]):
        with pytest.raises(SystemExit) as ended:
            main([command, *words])
        assert ended.value.code == 2
        assert f"The value of {option} is empty." in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["restore", "show", "fork"])
def test_command_refuses_an_empty_run(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([command, ""])
    assert "The value of RUN is empty." in capsys.readouterr().err


def test_empty_name_and_group_count_as_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["run", "dip", "--name", "", "--group", "", "--dry-run"])
    assert 'name = ""' in capsys.readouterr().out


def test_empty_name_of_an_image_file_is_refused_before_the_run() -> None:
    with pytest.raises(UserError, match=r"A name among images\.files is empty"):
        preflight.refuse(configs.build("dip", settings={"images.files": ("",)}), elsewhere=True)
