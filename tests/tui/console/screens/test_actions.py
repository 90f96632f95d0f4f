from __future__ import annotations

from pathlib import Path

import pytest
from textual.screen import Screen
from textual.widgets import Input

from dipddpm.core import events
from dipddpm.core.config import build
from dipddpm.core.launch import local, queue
from dipddpm.core.runs import EventLog, Run, RunsFolder, RunState, trash
from dipddpm.tui.console.screens.form import Form
from dipddpm.tui.shared import marks
from tests.tui.driving import Driver, Maker, Opener


def waiting() -> list[str]:
    return [ticket.run for _, ticket in queue.waiting()]


async def started(driver: Driver, name: str) -> str:
    """Start a training from the form; return its id once the cursor is on it."""
    form = await training_form(driver)
    form.query_one("#option-data-dataset", Input).value = "fashion-mini"
    form.query_one("#option-device", Input).value = "cpu"
    form.query_one("#option-name", Input).value = name
    await driver.settle()
    await driver.press("ctrl+s")
    await driver.until(lambda: driver.main.row is not None and driver.main.row.name == name, f"{name} in the list")
    return driver.selected


async def training_form(driver: Driver) -> Screen[object]:
    """Open the form for a run of kind ddpm."""
    await driver.press("n")
    await driver.until(lambda: isinstance(driver.app.screen, Form) and driver.app.screen.query(Input), "form")
    await driver.press("d", "d")  # the kinds that start with d, one after the other
    await driver.until(lambda: not driver.app.screen.query("#pick-method"), "a kind without a method")
    return driver.app.screen


@pytest.mark.usefixtures("busy")
async def test_console_starts_reorders_and_stops_queued_runs(opened: Opener, runs: RunsFolder) -> None:
    async with opened() as driver:
        first = await started(driver, "first")
        await driver.until(lambda: waiting() == [first], "the first one waiting")
        second = await started(driver, "second")
        await driver.until(lambda: waiting() == [first, second], "both waiting")
        await driver.until_seen("2 queued")

        await driver.press("Q")
        await driver.until_seen("2  ")
        await driver.press("j", "K")
        await driver.until(lambda: waiting() == [second, first], "the second one first")
        await driver.press("escape")

        await driver.press("s")
        await driver.until_dialog("Stop second?")
        await driver.press("enter")
        assert waiting() == [second, first], "Enter alone means no"
        await driver.press("s", "y")
        await driver.until(lambda: waiting() == [first], "the second one gone from the queue")
        await driver.until(lambda: driver.main.row is not None and driver.main.row.state is RunState.stopped, "stopped")
        assert runs.find(second).status().state is RunState.stopped
    assert waiting() == [first], "the run still waits after the console was quit"


async def test_queue_names_reason_why_it_cannot_be_read(
    opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened() as driver:
        await driver.press("Q")
        await driver.until_seen("No run waits for a slot.")
        (tmp_path / "file").touch()
        monkeypatch.setenv(queue.SETTING, str(tmp_path / "file"))
        await driver.until_seen("can't be used")
        monkeypatch.setenv(queue.SETTING, str(tmp_path / "queue"))
        await driver.until_seen("No run waits for a slot.")


async def test_undo_restores_deleted_run_and_quit_empties_trash(opened: Opener, make: Maker, runs: RunsFolder) -> None:
    kept, gone = make(name="kept"), make(name="gone")
    async with opened() as driver:
        await driver.press("d")
        await driver.until_dialog("Delete ")
        await driver.press("y")
        await driver.until(lambda: runs.runs() == [gone], "the run in the trash")
        await driver.until(lambda: "u brings it back" in driver.notifications(), "the offer to bring the run back")
        await driver.press("u")
        await driver.until(lambda: driver.selected == kept.id, "the run back, and the cursor on it")
        assert "u brings it back" not in driver.notifications()
        await driver.press("d")
        await driver.until_dialog("Delete ")
        await driver.press("n")
        assert len(runs.runs()) == 2
    assert trash.trashed(runs) == []


async def test_undo_does_not_double_curves(opened: Opener, make: Maker, runs: RunsFolder) -> None:
    kept, gone = make(name="kept", losses=[0.3, 0.2, 0.1]), make(name="gone")
    async with opened() as driver:
        await driver.until(lambda: len(driver.series().epochs) == 3, "the log of the run")
        await driver.press("d")
        await driver.until_dialog("Delete ")
        await driver.press("y")
        await driver.until(lambda: runs.runs() == [gone], "the run in the trash")
        await driver.press("u")
        await driver.until(lambda: driver.selected == kept.id, "the cursor on the run")
        log = EventLog(kept.folder)
        log.append(events.EpochFinished(epoch=4, step=40, loss=0.05))
        log.close()
        await driver.until(lambda: driver.series().epochs[-1].epoch == 4, "the new epoch")
        assert [epoch.epoch for epoch in driver.series().epochs] == [1, 2, 3, 4]


async def test_delete_ignores_live_run(opened: Opener, make: Maker) -> None:
    make(name="busy", state="running")
    async with opened() as driver:
        await driver.press("d")
        assert driver.app.screen is driver.main


async def test_tag_dialog_stores_tags_and_note(opened: Opener, make: Maker) -> None:
    run = make(name="boots")
    async with opened() as driver:
        await driver.press("t")
        await driver.until_dialog("Tags and note of boots")
        await driver.write("good baseline")
        await driver.press("enter")
        await driver.write("see [this]")
        await driver.press("enter")
        await driver.until_seen("#good #baseline  see [this]")
        await driver.press("slash")
        await driver.write("tag:baseline")
        await driver.until_seen("1 of 1")
    assert marks.read(run.folder) == marks.RunNotes(("good", "baseline"), "see [this]")


async def test_storage_screen_prunes_to_best_model(opened: Opener, make: Maker) -> None:
    run = make(name="large")
    (run.folder / "checkpoints/best.safetensors").write_bytes(b"x" * 1000)
    (run.folder / "checkpoints/last.safetensors").write_bytes(b"x" * 500_000)
    async with opened() as driver:
        await driver.press("D")
        await driver.until_seen("1 run, 50")
        await driver.press("b", "y")
        await driver.until(
            lambda: not (run.folder / "checkpoints/last.safetensors").exists(), "the other checkpoint gone"
        )
        assert (run.folder / "checkpoints/best.safetensors").exists()


async def test_form_offers_download_of_missing_data_and_reports_failure(
    opened: Opener, runs: RunsFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPDDPM_MIRROR", (tmp_path / "no mirror").as_uri())
    async with opened() as driver:
        form = await training_form(driver)
        form.query_one("#option-data-dataset", Input).value = "kmnist"
        await driver.settle()
        await driver.press("ctrl+s")
        await driver.until_dialog("kmnist is not on this machine. Download it now?")
        await driver.press("y")
        await driver.until(
            lambda: "kmnist" in driver.notifications() and "Downloading" not in driver.notifications().splitlines()[-1],
            "the error",
        )
        assert runs.runs() == []


@pytest.mark.slow
async def test_extend_continues_finished_run_as_new_run(opened: Opener, runs: RunsFolder, finished: Run) -> None:
    import shutil

    shutil.copytree(finished.folder, runs.root / finished.id)
    async with opened() as driver:
        await driver.press("x")
        await driver.until_dialog("Extend the run")
        driver.app.screen.query_one(Input).value = "1"
        await driver.press("enter")
        await driver.until(lambda: driver.selected not in {"", finished.id}, "the new run under the cursor")
        new = Run(runs.root / driver.selected)
        await driver.until(lambda: not new.status().state.live, "its end")
    summary = new.status().summary
    assert new.status().state is RunState.finished
    assert (summary.epoch, summary.epochs) == (finished.status().summary.epochs + 1,) * 2
    before, after = (
        [(event.epoch, event.loss) for event in run.events() if isinstance(event, events.EpochFinished)]
        for run in (finished, new)
    )
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1


async def test_stop_ends_live_run(opened: Opener, runs: RunsFolder) -> None:
    """The worker is stopped before it loads torch, so that the test stays fast."""
    run = runs.create(build("ddpm", settings={"data.dataset": "fashion-mini", "device": "cpu"}))
    local.start(run)
    async with opened() as driver:
        await driver.until(lambda: driver.main.row is not None and driver.main.row.state.live, "the run live")
        await driver.press("s", "y")
        await driver.until(lambda: not run.status().state.live, "the run stopped")
