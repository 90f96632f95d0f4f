"""`dipddpm export` and the console's export dialog."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from dipddpm.core.export import FORMATS
from dipddpm.core.runs import Run, RunsFolder
from tests.tui.driving import Driver, Maker, Opener, add_picture, dipddpm


async def fill_dialog(driver: Driver, name: str, folder: Path) -> None:
    """Press e, choose a format and type a folder."""
    await driver.press("e")
    await driver.until_seen("spreadsheets")
    driver.app.screen.query_one(OptionList).highlighted = list(FORMATS).index(name)
    await driver.press("enter")
    await driver.until_dialog("Export: ")
    driver.app.screen.query_one(Input).value = str(folder)
    await driver.press("enter")


# The command line


def test_export_writes_several_runs_in_several_formats(
    make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [make(name="one"), make(name="two")]
    out = tmp_path / "out"
    arguments = [*(run.id for run in runs), runs[0].id, "--to", "csv,jsonl", "--to", "files", "--out", str(out)]
    assert dipddpm("export", *arguments) == 0
    paths = [str(out / name / run.id) for run in runs for name in ("csv", "jsonl", "files")]
    assert capsys.readouterr().out.splitlines() == paths
    assert dipddpm("export", runs[0].id, "--to", "csv", "--out", str(out)) == 2
    assert "--force" in capsys.readouterr().err
    assert dipddpm("export", runs[0].id, "--to", "csv", "--out", str(out), "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"run": runs[0].id, "format": "csv", "path": paths[0], "then": ""}]


@pytest.mark.parametrize("command", [["export", "--to", "html,csv"], ["show"], ["show", "--json"]])
def test_commands_refuse_run_that_another_user_locked(
    command: list[str],
    make: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, readable, real_open = make(name="locked"), make(name="readable"), os.open

    def open_unless_locked(path: str | Path, *arguments: Any, **options: Any) -> int:
        if Path(path).is_relative_to(run.folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_unless_locked)
    out = ["--out", str(tmp_path / "out")] if command[0] == "export" else []
    assert dipddpm(command[0], run.id, *command[1:], *out) == 2
    assert f"{run.folder / 'events.jsonl'} can't be read: Permission denied." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert dipddpm(command[0], readable.id, *command[1:], *out) == 0


def test_export_prints_next_command(make: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make(name="one")
    assert dipddpm("export", run.id, "--to", "tensorboard", "--out", str(tmp_path / "my out")) == 0
    path, next_command = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / "my out/tensorboard" / run.id)
    assert next_command == f"Next: tensorboard --logdir '{tmp_path}/my out/tensorboard'"


def test_mirror_folder_exists_before_worker_starts(
    make: Maker, runs: RunsFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Run] = []

    def start(run: Run, **_: bool) -> None:
        assert (run.folder / "tensorboard").is_dir()
        started.append(run)

    monkeypatch.setattr("dipddpm.core.launch.local.start", start)
    stopped = make(state="stopped")
    assert dipddpm("resume", stopped.id, "--mirror", "tensorboard", "--detach") == 0
    arguments = ["--dataset", "fashion-mini", "--device", "cpu", "--mirror", "tensorboard", "--detach"]
    assert dipddpm("run", "ddpm", *arguments) == 0
    assert started == [stopped, runs.runs()[0]]
    assert f"Next: tensorboard --logdir {started[1].folder}/tensorboard" in capsys.readouterr().err


def test_run_makes_no_run_for_unknown_mirror(runs: RunsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("run", "ddpm", "--dataset", "fashion-mini", "--mirror", "mlflow") == 2
    assert "Export the run once it has ended." in capsys.readouterr().err
    assert runs.runs() == []


# The console


async def test_export_dialog_writes_files_and_shows_copy_command(opened: Opener, make: Maker, tmp_path: Path) -> None:
    run = make(name="boots", losses=[0.3, 0.2])
    add_picture(run, "samples", 20, 90)
    async with opened() as driver:
        await fill_dialog(driver, "files", tmp_path / "home")
        await driver.until_dialog("scp -r")
    folder = tmp_path / "home/files" / run.id
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert {"epochs.csv", "run.json", "config.toml", "images/samples-000020.png"} <= written


async def test_export_dialog_asks_before_replacing_folder(opened: Opener, make: Maker, tmp_path: Path) -> None:
    run = make(name="boots")
    # The question names the run's folder. With 236 characters the screen breaks "Replace it?" into two lines.
    below = Path("csv") / run.id
    home = tmp_path / ("x" * max(1, 234 - len(f"{tmp_path}{below}")))
    mine = home / below / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    async with opened() as driver:
        await fill_dialog(driver, "csv", home)
        await driver.until_dialog("Replace it?")
        await driver.press("n")
        assert mine.exists()
        await fill_dialog(driver, "csv", home)
        await driver.until_dialog("Replace it?")
        await driver.press("y")
        await driver.until_dialog("scp -r")
    assert not mine.exists()
    assert (mine.parent / "epochs.csv").is_file()


async def test_export_dialog_names_missing_extra(
    opened: Opener, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(name="boots")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with opened() as driver:
        await driver.press("e")
        await driver.until_seen("(needs wandb)")
        driver.app.screen.query_one(OptionList).highlighted = list(FORMATS).index("wandb")
        await driver.press("enter")
        await driver.until(lambda: "pip install 'dipddpm[wandb]'" in driver.notifications(), "the package to install")


async def test_export_dialog_refuses_unwritable_folder(opened: Opener, make: Maker, tmp_path: Path) -> None:
    make(name="boots")
    (tmp_path / "file").write_text("")
    async with opened() as driver:
        await fill_dialog(driver, "files", tmp_path / "file" / "out")
        await driver.until(lambda: "can't be written" in driver.notifications(), "the problem")
