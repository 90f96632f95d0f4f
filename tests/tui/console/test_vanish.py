"""The runs folder or files in it vanish while the console shows them, and come back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dipddpm.core.runs import LOG_FILE, Run, RunsFolder
from dipddpm.tui.console.panes.view import Pane
from tests.tui.driving import Driver, Maker, Opener, add_picture

PANES = ("5", "4", "3", "2", "1")


@pytest.fixture
def shown(make: Maker) -> list[Run]:
    """Make two runs with content in every pane, the newest first."""
    made = [make(name="alpha"), make(name="beta")]
    for run in made:
        add_picture(run, "samples", 10, 100)
        (run.folder / LOG_FILE).write_text("printed\n")
    return made


async def visit(driver: Driver, *more: str) -> None:
    """Open every pane, then press more keys."""
    for key in (*PANES, *more):
        await driver.press(key)


async def open_all_panes(driver: Driver) -> None:
    await driver.press("m", "j", "m", "k")
    await visit(driver)
    await driver.until(lambda: driver.series().epochs, "the log of the run")


async def test_console_survives_runs_folder_vanishing_and_returning(
    opened: Opener, runs: RunsFolder, shown: list[Run], tmp_path: Path
) -> None:
    async with opened() as driver:
        await open_all_panes(driver)
        runs.root.rename(tmp_path / "elsewhere")
        await driver.until_seen("No runs in")
        await visit(driver, "e", "t", "r", "s", "d", "0", "0")
        runs.root.write_text("a file in the way")
        await visit(driver, "n", "escape", "D", "escape")
        assert not any(pane.display for pane in driver.main.query(Pane)), "there is nothing for a pane to show"
        runs.root.unlink()
        (tmp_path / "elsewhere").rename(runs.root)
        await driver.until_seen("alpha")
        await driver.until(lambda: len(driver.series().epochs) == 3, "the run as it was")


async def test_console_selects_next_run_when_shown_run_vanishes(opened: Opener, shown: list[Run]) -> None:
    async with opened() as driver:
        await open_all_panes(driver)
        shutil.rmtree(shown[0].folder)
        shown[0].folder.write_text("a file in the way")
        # The list still shows the run; commands on it must cope with its absence.
        await visit(driver, "f", "escape", "t", "escape", "r", "s", "d", "escape", "e", "escape")
        driver.main.reader.wake()
        await driver.until(lambda: driver.selected == shown[1].id, "the other run")
        assert [row.id for row in driver.main.rows] == [shown[1].id]
        await driver.until_seen("beta")


async def test_console_rereads_run_whose_folder_is_replaced(opened: Opener, make: Maker, shown: list[Run]) -> None:
    async with opened() as driver:
        await driver.until(lambda: len(driver.series().epochs) == 3, "the log of the run")
        shutil.rmtree(shown[0].folder)
        make.made = 0
        other = make(kind="ddpm", name="other", losses=[0.5])
        other.folder.rename(shown[0].folder)
        driver.main.reader.wake()
        await driver.until(lambda: "other" in [row.name for row in driver.main.rows], "the other run in the list")
        driver.main.run_list.table.go_to(shown[0].id)
        await driver.until(lambda: [epoch.loss for epoch in driver.series().epochs] == [0.5], "the other's log")


async def test_console_survives_loss_of_working_directory(
    opened: Opener, shown: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv("DIPDDPM_RUNS")
    async with opened() as driver:
        gone.rmdir()
        with pytest.raises(FileNotFoundError):
            os.getcwd()  # noqa: PTH109
        for key in ("n", "escape", "f", "escape", "e", "escape"):
            await driver.press(key)
        await driver.until_seen("alpha")


async def test_form_closed_at_once_leaves_console_working(opened: Opener, shown: list[Run]) -> None:
    async with opened() as driver:
        for _ in range(2):
            driver.main.action_command("new")
            driver.app.pop_screen()
            await driver.settle()
        await driver.until_seen("alpha")
