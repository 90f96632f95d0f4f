"""Groups in the console: headers that fold, and combinations with mean and spread."""

from __future__ import annotations

import pytest

from dipddpm.core.runs import Run
from tests.tui.driving import LARGE, SMALL, Driver, Maker, Opener

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture
def swept(make: Maker) -> list[Run]:
    """Make runs with two learning rates and two seeds each, and a run without a group."""
    runs = [
        make("dip", psnr=[12.0, psnr], name=f"lr={lr} seed={seed}", settings={"dip.lr": lr, "seed": seed, "group": "g"})
        for lr, psnrs in ((0.1, (20.0, 22.0)), (0.02, (24.0, 25.0)))
        for seed, psnr in enumerate(psnrs)
    ]
    return [*runs, make(name="alone")]


def listed(driver: Driver) -> list[str]:
    """Return the lines of the list."""
    return [
        line.partition("▕")[0].strip() for line in driver.text().splitlines()[2:-1] if line.partition("▕")[0].strip()
    ]


@SIZES
async def test_run_list_folds_group_and_compares_its_combinations(
    opened: Opener, swept: list[Run], size: tuple[int, int]
) -> None:
    async with opened(size) as driver:
        await driver.until(lambda: len(listed(driver)) == 2, "the group and the run without a group")
        assert "▸ g" in listed(driver)[0]
        assert "4/4 done" in listed(driver)[0]
        await driver.until_seen("25.00 ±0.71")
        await driver.until_seen("PSNR dB")  # the chart comes after the table
        text = driver.text()
        assert "lr=0.02" in text
        assert "Runs  5" in text
        assert "group of 4" in text
        # The maker's mean PSNR is half a dB above the given one.
        assert "25.00 ±0.71" in text
        assert "21.50 ±1.41" in text
        await driver.press("4")
        assert "25.00 ±0.71" in driver.text(), "a group is always shown in the compare pane"
        await driver.press("right")
        await driver.until(lambda: len(listed(driver)) == 6, "its runs")
        assert "▾ g" in listed(driver)[0]
        assert [driver.main.run_list.table._rows[n].id for n in range(1, 5)] == [swept[n].id for n in (2, 3, 0, 1)]
        await driver.press("j", "j")
        assert driver.selected == swept[3].id
        await driver.until(lambda: "±" not in driver.text(), "the config of the run")
        await driver.press("h")
        assert driver.main.group is not None
        await driver.press("enter")
        await driver.until(lambda: len(listed(driver)) == 2, "folded again")


async def test_filter_finds_runs_within_groups(opened: Opener, swept: list[Run]) -> None:
    async with opened() as driver:
        await driver.press("slash")
        await driver.write("group:g psnr<22")
        await driver.press("enter")
        await driver.until_seen("1 of 5")
        assert driver.selected == swept[0].id
        await driver.press("slash")
        await driver.write("group:g")
        await driver.press("enter")
        await driver.until_seen("4 of 5")
        await driver.until(lambda: len(listed(driver)) == 5, "the group unfolded")


async def test_console_opens_run_within_folded_group(opened: Opener, swept: list[Run]) -> None:
    async with opened(run=swept[1].id) as driver:
        await driver.until(lambda: driver.selected == swept[1].id, "the cursor on it")
        assert len(listed(driver)) == 6


async def test_stop_asks_for_live_runs_of_group(opened: Opener, make: Maker, swept: list[Run]) -> None:
    make("dip", state="running", settings={"group": "g", "dip.lr": 0.3})
    make("dip", state="running", settings={"group": "g", "dip.lr": 0.4})
    async with opened() as driver:
        await driver.until_seen("4/6 done")
        assert "2 running  4 finished" in driver.text()
        await driver.press("s")
        await driver.until_dialog("Stop 2 runs of g?")
        await driver.press("n", "t", "d", "e", "m")
        assert driver.app.screen is driver.main
        assert driver.main.marked == {}


async def test_compare_pane_lists_marked_runs_of_group_singly(opened: Opener, swept: list[Run]) -> None:
    async with opened() as driver:
        await driver.press("l", "j", "m", "j", "m", "5")
        await driver.until_seen("24.50")
        text = driver.text()
        assert "±" not in text
        assert "seed" in text
