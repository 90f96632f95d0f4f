from __future__ import annotations

import math

import pytest
from textual.widgets import Static

from dipddpm.core import events
from dipddpm.core.runs import EventLog
from dipddpm.tui.console.panes.compare import ComparePane
from dipddpm.tui.console.widgets.chart import LineChart
from dipddpm.tui.console.widgets.pictures import PictureFile
from tests.tui.driving import LARGE, SMALL, Maker, Opener, add_picture

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


@SIZES
async def test_live_pane_shows_curve_and_best_model(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make(name="shirts", losses=[0.3, 0.2, 0.1])
    async with opened(size) as driver:
        text = driver.text()
        assert "loss" in text
        assert "epoch 3/3" in text
        assert "Loss at epoch 3: 0.1 --> Best model" in text
        assert any("⠁" <= character <= "⣿" for character in text), "a line in braille"


@SIZES
async def test_live_pane_marks_psnr_peak(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make("dip", name="boots", psnr=[20.0, 24.0, 26.0, 25.0, 23.0])
    async with opened(size) as driver:
        await driver.until_seen("image 1")
        text = driver.text()
        assert "mean" in text
        assert "▲" in text
        assert "23.5 dB" in text


@SIZES
@pytest.mark.parametrize(
    ("losses", "psnr"),
    [([0.5], []), ([0.5, math.nan, math.inf], []), ([], []), ([], [math.nan, 20.0])],
    ids=["one epoch", "diverged loss", "no values", "NaN PSNR"],
)
async def test_panes_draw_runs_with_empty_or_nan_values(
    opened: Opener, make: Maker, size: tuple[int, int], losses: list[float], psnr: list[float]
) -> None:
    make("dip" if psnr else "ddpm", name="strange", losses=losses, psnr=psnr)
    async with opened(size) as driver:
        for pane in "12345":
            await driver.press(pane)
            assert "strange" in driver.text()
        await driver.press("1")
        if any(map(math.isnan, losses)):
            assert "×" in driver.text()


async def test_live_pane_shows_error_and_hint_of_failed_run(opened: Opener, make: Maker) -> None:
    make(name="too large", state="failed")
    async with opened(SMALL) as driver:
        text = driver.text()
        assert "The device ran out of memory." in text
        assert "Lower the batch." in text


async def test_footer_offers_resume_for_crashed_run(opened: Opener, make: Maker) -> None:
    make(name="killed", state="crashed")
    async with opened() as driver:
        assert "crashed" in driver.text()
        assert "r resume" in driver.text()
        assert "s stop" not in driver.text()


async def test_live_pane_follows_running_run_to_its_end(opened: Opener, make: Maker) -> None:
    run = make(name="going on", state="running", losses=[0.3])
    async with opened() as driver:
        await driver.until_seen("s stop")
        log = EventLog(run.folder)
        log.append(events.EpochFinished(epoch=2, step=20, loss=0.05, best=True))
        log.append(
            events.BestModelStored(step=20, epoch=2, value=0.05, file="checkpoints/best.safetensors", sha256="0")
        )
        await driver.until_seen("Loss at epoch 2: 0.05 --> Best model ever (stored)")
        log.append(events.RunFinished(seconds=2.0, step=20))
        log.close()
        await driver.until_seen("Finished in 2s")
        await driver.until(lambda: "s stop" not in driver.text(), "a run that has ended can't be stopped")


async def test_live_pane_drops_epochs_voided_by_resume(opened: Opener, make: Maker) -> None:
    run = make(name="twice", state="stopped", losses=[0.3, 0.2])
    async with opened() as driver:
        assert driver.series().epoch == 2
        later = min(event.offset for event in run.events() if getattr(event, "step", 0) > 10)
        log = EventLog(run.folder)
        log.append(events.RunResumed(from_step=10, from_epoch=1, from_offset=later))
        log.close()
        await driver.until(lambda: driver.series().epoch == 1, "the second epoch void")
        assert "Loss at epoch 2" not in driver.text()


async def test_time_cursor_moves_curves_and_pictures_together(opened: Opener, make: Maker) -> None:
    run = make("dip", name="boots", psnr=[20.0, 24.0, 26.0])
    for step, shade in ((10, 10), (20, 120), (30, 250)):
        add_picture(run, "restored", step, shade)
    async with opened() as driver:
        await driver.press("comma")
        steps = [driver.main.step]
        await driver.press("comma")
        steps.append(driver.main.step)
        assert steps == [30, 20]
        assert "PSNR 24.50" in driver.text()
        await driver.press("2")
        await driver.until_seen("restored at 20")
        await driver.press("comma")
        await driver.until_seen("restored at 10")
        await driver.press("full_stop", "full_stop", "full_stop")
        assert driver.main.step is None, "past the last step, the cursor follows the run"
        await driver.until_seen("restored at 30")


async def test_time_cursor_closes_on_escape(opened: Opener, make: Maker) -> None:
    make(losses=[0.3, 0.2, 0.1])
    async with opened() as driver:
        await driver.press("comma", "comma", "escape")
        assert driver.main.step is None


async def test_images_pane_turns_pictures_only_within_run_folder(opened: Opener, make: Maker) -> None:
    run = make("dip", name="boots", psnr=[20.0])
    for name in ("degraded", "restored"):
        add_picture(run, name, 10, 100)
    async with opened() as driver:
        await driver.press("2")
        await driver.until_seen("restored at 10")
        await driver.press("tab", "l")
        await driver.until_seen("degraded at 10")
    assert PictureFile(run.folder, "images/restored-000010.png").path() is not None
    assert PictureFile(run.folder, "../../secret.png").path() is None
    assert PictureFile(run.folder, "/etc/passwd").path() is None


async def test_images_pane_reports_missing_pictures(opened: Opener, make: Maker) -> None:
    make()
    async with opened() as driver:
        await driver.press("2")
        await driver.until_seen("no picture yet")


async def test_log_pane_is_plain_about_no_output(opened: Opener, make: Maker) -> None:
    run = make(name="silent")
    async with opened() as driver:
        await driver.press("3")
        await driver.until_seen("The run's process has printed nothing.")
        (run.folder / "worker.log").write_bytes(b"a warning\n")
        await driver.until_seen("a warning")
        assert "printed nothing" not in driver.text()


async def test_log_pane_follows_worker_output(opened: Opener, make: Maker) -> None:
    run = make(name="talks")
    (run.folder / "worker.log").write_bytes(b"a warning\n\x1b[31mred\x1b[0m\n begun\r halfway\rall there\n")
    async with opened() as driver:
        await driver.press("3")
        await driver.until_seen("a warning")
        assert "\\x1b[31mred" in driver.text()
        assert "all there" in driver.text()
        assert "halfway" not in driver.text()  # overwritten after a carriage return
        with (run.folder / "worker.log").open("a") as file:
            file.write("one more\n")
        await driver.until_seen("one more")


async def test_config_pane_shows_command_and_folder(opened: Opener, make: Maker) -> None:
    run = make(name="shirts", settings={"ddpm.lr": 0.002})
    async with opened() as driver:
        await driver.press("4")
        await driver.until_seen("dipddpm run ddpm --name shirts --set ddpm.lr=0.002")
        assert str(run.folder) in str(driver.main.query_one("#config-page", Static).render())


@SIZES
async def test_compare_pane_shows_results_and_differing_options(
    opened: Opener, make: Maker, size: tuple[int, int]
) -> None:
    make(name="slow", settings={"ddpm.lr": 0.001}, losses=[0.3, 0.2])
    make(name="fast", settings={"ddpm.lr": 0.004}, losses=[0.3, 0.1])
    async with opened(size) as driver:
        await driver.press("5")
        await driver.until_seen("Mark up to eight runs")
        await driver.press("m", "j", "m")
        await driver.until_seen("state     best loss")
        pane = driver.main.query_one(ComparePane)
        rows = str(pane.query_one("#compare-rows").render()).splitlines()
        assert rows[0].split() == ["state", "best", "loss", "took", "ddpm.lr"]
        assert rows[1].split() == ["▌", "slow", "finished", "0.2000", "30s", "0.001"]
        assert rows[2].split() == ["▌", "fast", "finished", "0.1000", "30s", "0.004"]
        chart = pane.query_one("#compare-loss", LineChart)
        await driver.until(lambda: len(chart._series) == 2, "two curves")
        assert [line.colour for line in chart._series] == [0, 1]


async def test_live_pane_keys_change_smoothing_log_y_and_axis(opened: Opener, make: Maker) -> None:
    make(losses=[0.3, 0.2, 0.1])
    async with opened() as driver:
        await driver.press("y")
        assert "log y" in driver.text()
        await driver.press("w")
        assert "smoothed 0.9" in driver.text()
        await driver.press("a")
        assert driver.main.preferences.axis == "epoch"


async def test_compare_pane_shows_results_of_group_with_more_single_runs_than_colours(
    opened: Opener, make: Maker
) -> None:
    rates = [round(0.001 * n, 3) for n in range(1, 11)]
    for rate in rates:
        make(name=f"lr={rate}", group="rates", settings={"ddpm.lr": rate}, losses=[1.0, rate])
    async with opened(LARGE) as driver:
        await driver.until_seen("best loss")
        rows = str(driver.main.query_one("#compare-rows", Static).render()).splitlines()
        assert rows[0].split()[:4] == ["state", "best", "loss", "took"]
        assert rows[0].split()[-1] == "ddpm.lr"
        assert len([row for row in rows if "finished" in row]) == len(rates)
