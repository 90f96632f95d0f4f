from __future__ import annotations

import shutil

import pytest
from rich.cells import cell_len

from dipddpm.core.runs import RunsFolder, trash
from dipddpm.tui.console.widgets.runtable import RunTable
from tests.tui.driving import LARGE, SMALL, Maker, Opener, add_picture

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@SIZES
async def test_run_list_explains_first_steps_in_empty_folder(opened: Opener, size: tuple[int, int]) -> None:
    async with opened(size) as driver:
        text = driver.text()
        assert "No runs in" in text
        assert "n  start the first one" in text
        assert "dipddpm run hybrid --preset quick" in text


async def test_readonly_console_offers_no_new_run(opened: Opener) -> None:
    async with opened(readonly=True) as driver:
        assert "start the first one" not in driver.text()
        assert "new run" not in driver.text()
        await driver.press("n")
        assert driver.app.screen is driver.main


@SIZES
async def test_run_list_shows_newest_first_and_moves_cursor(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    runs = [make(name=name) for name in ("newest", "middle", "oldest")]
    async with opened(size) as driver:
        lines = driver.text().splitlines()
        positions = [next(n for n, line in enumerate(lines) if name in line) for name in ("newest", "middle", "oldest")]
        assert positions == sorted(positions)
        assert driver.selected == runs[0].id
        await driver.press("j", "down")
        assert driver.selected == runs[2].id
        await driver.press("g")
        assert driver.selected == runs[0].id
        await driver.press("G", "k")
        assert driver.selected == runs[1].id


async def test_run_list_keeps_selection_when_run_arrives(opened: Opener, make: Maker) -> None:
    make(name="one")
    second = make(name="two")
    async with opened() as driver:
        await driver.press("j")
        make.made = -5  # newer than all previous runs
        make(name="arrived")
        await driver.until_seen("arrived")
        assert driver.selected == second.id


@SIZES
async def test_run_list_shows_names_literally_within_column(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    names = [
        "[bold red]markup[/]",
        "ノイズ除去 テスト ノイズ除去 テスト",
        "🚀 rocket 🚀 rocket 🚀 rocket 🚀",
        "x" * 150,
        "\x1b[31mred\x07",
    ]
    for name in names:
        make(name=name)
    async with opened(size) as driver:
        await driver.press("0")
        text = driver.text()
        assert "[bold red]" in text
        assert "\\x1b[31m" in text
        assert "\x1b" not in text
        table = driver.main.query_one(RunTable)
        assert all(cell_len(table.render_line(y).text) == table.size.width for y in range(table.size.height))


@SIZES
async def test_filter_narrows_run_list_while_typing(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make("dip", name="boots", psnr=[20.0, 24.0])
    make("ddpm", name="shirts", losses=[0.5, 0.03])
    make("ddpm", name="coats", losses=[0.5, 0.4])
    async with opened(size) as driver:
        await driver.press("slash")
        await driver.write("kind:ddpm")
        await driver.until_seen("2 of 3")
        assert "boots" not in driver.text()
        await driver.write(" loss<0.1")
        await driver.until_seen("1 of 3")
        await driver.press("enter")
        assert isinstance(driver.app.focused, RunTable)
        assert driver.main.row is not None
        assert driver.main.row.name == "shirts"
        await driver.press("escape")
        await driver.until(lambda: "of 3" not in driver.text(), "all runs again")


async def test_filter_marks_unreadable_query(opened: Opener, make: Maker) -> None:
    make(name="one")
    async with opened() as driver:
        await driver.press("slash")
        await driver.write("loss<abc")
        title = driver.main.query_one("#list-title")
        await driver.until(lambda: title.has_class("wrong"), "the error")
        await driver.press("escape")
        await driver.until(lambda: not title.has_class("wrong"), "the title again")


async def test_run_list_sorts_by_column_and_reverses(opened: Opener, make: Maker) -> None:
    make(name="middle", losses=[0.2])
    make(name="best", losses=[0.1])
    make(name="worst", losses=[0.3])
    async with opened() as driver:
        driver.main.preferences.sort = "best_loss"
        driver.main.preferences.descending = False
        driver.main.show_rows()
        await driver.press("g")
        assert driver.main.row is not None
        assert driver.main.row.name == "best"
        await driver.press("O", "g")
        assert driver.main.row.name == "worst"
        await driver.press("o")
        await driver.until_dialog("Sort by")
        await driver.press("escape")


async def test_run_list_shows_every_column_when_wide(opened: Opener, make: Maker) -> None:
    make("dip", name="boots", psnr=[20.0, 24.0])
    async with opened() as driver:
        await driver.press("0")
        header = next(line for line in driver.text().splitlines() if "best loss" in line)
        for column in ("state", "kind", "method", "name", "done", "PSNR", "took", "age"):
            assert column in header
        await driver.press("enter")
        assert "best loss " not in driver.text()


async def test_run_list_marks_at_most_eight_runs_in_fixed_colours(opened: Opener, make: Maker) -> None:
    runs = [make(name=f"run {number}") for number in range(9)]
    async with opened() as driver:
        for _ in range(9):
            await driver.press("m", "j")
        assert driver.main.marked == {run.id: colour for colour, run in enumerate(runs[:8])}
        await driver.press("g", "j", "m")  # free the second colour
        await driver.press("G", "m")
        assert driver.main.marked[runs[8].id] == 1
        assert driver.main.marked[runs[7].id] == 7
        await driver.press("M")
        assert driver.main.marked == {}


async def test_run_list_drops_vanished_run(opened: Opener, make: Maker) -> None:
    make(name="stays")
    gone = make(name="goes")
    async with opened() as driver:
        await driver.press("j")
        trash.delete(gone)
        await driver.until(lambda: "goes" not in driver.text(), "the run gone")
        assert driver.main.row is not None
        assert driver.main.row.name == "stays"


async def test_run_list_marks_damaged_config_broken(opened: Opener, make: Maker) -> None:
    run = make(name="broken one")
    (run.folder / "config.toml").write_text("kind = 3")
    (run.folder / "summary.json").unlink(missing_ok=True)
    async with opened() as driver:
        await driver.until_seen("broken")


async def test_console_opens_requested_run(opened: Opener, make: Maker) -> None:
    make(name="first")
    wanted = make(name="second")
    async with opened(run=wanted.id[-4:]) as driver:
        assert driver.selected == wanted.id


async def test_run_list_follows_recreated_runs_folder(opened: Opener, make: Maker, runs: RunsFolder) -> None:
    make(name="before")
    async with opened() as driver:
        for pane in "12345":
            await driver.press(pane)
        shutil.rmtree(runs.root)
        await driver.until_seen("No runs in")
        runs.root.mkdir()
        make(name="after")
        await driver.until_seen("after")


async def test_panes_survive_vanished_or_replaced_files(opened: Opener, make: Maker) -> None:
    run = make("dip", name="boots", psnr=[20.0, 21.0])
    add_picture(run, "restored", 20, 100)
    async with opened() as driver:
        await driver.press("2")
        await driver.until_seen("restored at 20")
        shutil.rmtree(run.folder / "images")
        (run.folder / "events.jsonl").unlink()
        (run.folder / "events.jsonl").mkdir()
        (run.folder / "worker.log").mkdir()
        (run.folder / "notes.toml").write_bytes(b"\xff\x00")
        for pane in "12345":
            await driver.press(pane)
        assert "boots" in driver.text()
