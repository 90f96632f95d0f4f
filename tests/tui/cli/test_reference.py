"""Reference runs on the command line and in the console."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipddpm.core.images import load_image
from dipddpm.core.runs import Run, RunsFolder
from tests.tui.driving import Maker, Opener, dipddpm


def test_ls_lists_reference_run_last_and_marked(shipped: Run, make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    assert dipddpm("ls") == 0
    output = capsys.readouterr()
    assert "No runs in" in output.err
    assert output.out.splitlines()[1].split()[:3] == [shipped.id, "tutorial", "reference"]
    own = make()
    assert dipddpm("ls", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(run["id"], run["reference"]) for run in listed] == [(own.id, False), (shipped.id, True)]


def test_reference_run_is_shown_and_sampled_but_never_changed(
    shipped: Run, runs: RunsFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dipddpm("show", "reference") == 0
    assert "finished (a reference run, which ships with the program)" in capsys.readouterr().out
    picture = tmp_path / "out.png"
    assert dipddpm("sample", "reference", "-n", "1", "--steps", "2", "--grid", picture) == 0
    assert load_image(picture).shape == (1, 1, 58, 58)
    for command in ("stop", "resume"):
        assert dipddpm(command, shipped.id) == 2
        assert "is a reference run, which ships with the program" in capsys.readouterr().err


async def test_console_shows_reference_run_and_refuses_changes(shipped: Run, opened: Opener, make: Maker) -> None:
    make(name="mine")
    async with opened() as driver:
        assert driver.main.run_list.table.go_to(shipped.id)
        await driver.until_seen("◆ finished")
        await driver.until_seen("reference")
        await driver.until(lambda: driver.series().epoch == 4, "its curve")
        for key in ("d", "t"):
            await driver.press(key)
            assert driver.app.screen is driver.main
            assert "is a reference run" in driver.notifications()
            driver.app.clear_notifications()
        await driver.press("f")
        await driver.until_seen(f"New run like {shipped.id}")
    assert shipped.folder.is_dir()
