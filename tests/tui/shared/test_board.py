"""Scoreboards of restorations: at the end of a run, in `show`, and while they grow in the console."""

from __future__ import annotations

import msgspec
import pytest

from dipddpm.core import events
from dipddpm.core.runs import EventLog, Run, RunsFolder
from dipddpm.tui.cli.main import app
from dipddpm.tui.console.widgets.chart import LineChart
from dipddpm.tui.shared.formatting import event_line, scoreboard_lines, summary_lines
from tests.tui.driving import LARGE, SMALL, Maker, Opener

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])


def score(run: Run, method: str, psnr: float, *, of: str = "", task: str = "denoise:sigma=50,blind=true") -> None:
    log = EventLog(run.folder)
    log.append(
        events.RestorationScored(
            task=task, set="glyphs", method=method, psnr=[psnr, psnr + 1], budget_of=of, seconds=12.5, runs=3, step=1
        )
    )
    log.close()


def scored(make: Maker) -> Run:
    run = make("restore", name="duel", losses=[])
    score(run, "calibrated", 24.0)
    score(run, "dip-mean", 23.5, of="calibrated")
    return run


@SIZES
async def test_live_pane_shows_scoreboard_as_it_grows(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    run = scored(make)
    async with opened(size) as driver:
        await driver.until_seen("dip-mean @calibrated")
        text = driver.text()
        assert "denoise:sigma=50,blind=true on glyphs" in text
        assert "24.50" in text
        assert not driver.app.screen.query_one("#live-loss", LineChart).display
        score(run, "calibrated", 30.0, task="superres:factor=4")
        await driver.until_seen("30.50")


@SIZES
async def test_live_pane_hides_scoreboard_without_scores(opened: Opener, make: Maker, size: tuple[int, int]) -> None:
    make(name="shirts")
    async with opened(size) as driver:
        assert not driver.app.screen.query_one("#live-board").display
        assert driver.app.screen.query_one("#live-loss", LineChart).display


def test_show_prints_scoreboard_before_config(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    run = scored(make)
    app(["show", run.id, "--runs-dir", str(make.root)], standalone_mode=False)
    printed = capsys.readouterr().out
    board = "\n".join(scoreboard_lines(RunsFolder(make.root).find(run.id)))
    assert board in printed
    assert printed.index(board) < printed.index('kind = "restore"')
    assert "  calibrated - dip-mean: +0.50 [+0.50, +0.50] dB" in board


def test_summary_lines_are_scoreboard_of_single_cell(make: Maker) -> None:
    run = scored(make)
    assert summary_lines(run) == scoreboard_lines(run)


def test_summary_lines_leave_out_controls_of_several_cells(make: Maker) -> None:
    run = make("restore", losses=[])
    for task in ("denoise:sigma=50", "superres:factor=4"):
        for method, psnr, of in (("calibrated", 24.0, ""), ("dip-mean", 23.5, "calibrated"), ("ddnm-10", 20.0, "")):
            score(run, method, psnr, of=of, task=task)
        score(run, "ddpm-mean", 23.0, of="calibrated", task=task)
    lines = summary_lines(run)
    assert not any("ddnm-10" in line for line in lines)
    assert any(line.split()[:4] == ["superres:factor=4", "24.50", "24.00", "24.00"] for line in lines)
    assert lines[-1] == f"All methods and costs: dipddpm show {run.id}"


def test_event_line_describes_score_and_prior() -> None:
    event = events.RestorationScored(
        task="superres:factor=4",
        set="leaves",
        method="dip-mean",
        psnr=[20.0, 21.0],
        budget_of="guided",
        seconds=3,
        runs=4,
        step=1,
    )
    assert event_line(event) == (
        "superres:factor=4 on leaves, dip-mean, mean of 4: 20.50 dB in 3.0 s (in the time of guided)"
    )
    assert event_line(msgspec.structs.replace(event, step=0)) is None, "a result of the run that images are added to"
    prior = events.PriorLoaded(run="20261123-1-ddpm", sha256="ab" * 32, parameters=1234)
    assert event_line(prior) == "Prior: the best model of 20261123-1-ddpm, 1,234 parameters, sha256 abababababab"


def test_scoreboard_lines_hold_no_escape_sequence(make: Maker) -> None:
    run = make("restore", losses=[])
    score(run, "\x1b[31mred", 20.0, task="denoise\x07")
    assert not any(character in text for text in scoreboard_lines(run) for character in "\x1b\x07")


async def test_compare_pane_shows_gain_of_hybrids(opened: Opener, make: Maker) -> None:
    run = scored(make)
    log = EventLog(run.folder)
    log.append(events.RestorationsCompared(method="calibrated", psnr=24.5, cells=1, gain=0.5, lower=0.5, upper=0.5))
    log.close()
    make(name="shirts")
    async with opened(LARGE) as driver:
        await driver.press("m", "down", "m", "5")
        await driver.until_seen("+0.50")
        assert "gain" in driver.text()
