"""The run list: the content of rows, their order, and that a scan finds changes without reading every run again."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat, summary
from dipddpm.tui.shared import marks, runlist
from dipddpm.tui.shared.runlist import FIRST_BATCH_ROWS, RunRow, RunScanner, round_age, sort_rows
from tests.helpers import append_events, this_process


def _finish(run: Run, loss: float = 0.5) -> Run:
    append_events(
        run,
        events.RunStarted(time=1000.0, kind="ddpm", method="m", device="cpu", epochs=2, steps=20),
        events.EpochFinished(time=1050.0, epoch=2, step=20, loss=loss, best=True),
        events.BestModelStored(
            time=1050.0, epoch=2, step=20, value=loss, file="checkpoints/best.safetensors", sha256=""
        ),
        events.RunFinished(time=1100.0, seconds=100.0, step=20),
    )
    return run


def _alive(run: Run) -> None:
    """Make this process the worker of a run."""
    append_events(
        run, events.RunStarted(kind="ddpm", method="m", device="cpu", steps=100), events.Step(step=25, loss=1.0)
    )
    heartbeat.write(run.folder, heartbeat.Worker(this_process(), alive=time.time(), progressed=time.time()))


def _rows(scanner: RunScanner) -> list[RunRow]:
    """Return the rows after a scan that finds changes."""
    rows = _last(scanner)
    assert rows is not None
    return rows


def _last(scanner: RunScanner) -> list[RunRow] | None:
    scans = list(scanner.scan())
    return scans[-1][0] if scans else None


def _scan_until(scanner: RunScanner, wanted: Callable[[list[RunRow]], bool]) -> bool:
    """Scan until the rows are as wanted; return False once every run has been checked."""
    for _ in range(1 + len(scanner.rows())):
        scanner._live_read_at = -math.inf
        if (rows := _last(scanner)) and wanted(rows):
            return True
    return False


def test_run_row_holds_status_results_and_notes(runs: RunsFolder) -> None:
    run = _finish(runs.create(configs.build("ddpm", settings={"name": "take [2]\x1b[31m"})), loss=0.25)
    marks.write(run.folder, marks.RunNotes(("x",), "good"))
    (row,) = _rows(RunScanner(runs.root))
    assert (row.id, row.kind, row.method, row.state) == (run.id, "ddpm", "tutorial", RunState.finished)
    assert row.name == "take [2]\\x1b[31m"
    assert (row.progress, row.epoch, row.best_loss, row.duration) == (1.0, 2, 0.25, 100.0)
    assert (row.tags, row.note) == (("x",), "good")
    assert row.eta is None


def test_scanner_finds_no_rows_in_empty_or_missing_folder(tmp_path: Path) -> None:
    assert _last(RunScanner(tmp_path / "gone")) == []
    assert _last(RunScanner(tmp_path)) == []


def test_scanner_yields_first_batch_early_and_newest_first(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlist, "BATCH_SECONDS", math.inf)
    runs.root.mkdir()
    text = configs.to_toml(configs.build("dip"))
    for number in range(FIRST_BATCH_ROWS + 20):
        folder = runs.root / f"20260101-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}-dip-0000"
        folder.mkdir()
        (folder / "config.toml").write_text(text)
    batches = list(RunScanner(runs.root).scan())
    assert [(len(rows), complete) for rows, complete in batches] == [
        (FIRST_BATCH_ROWS, False),
        (FIRST_BATCH_ROWS + 20, True),
    ]
    ids = [row.id for row in batches[-1][0]]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == FIRST_BATCH_ROWS + 20


def test_scanner_reports_nothing_while_unchanged(runs: RunsFolder) -> None:
    _finish(runs.create(configs.build("ddpm")))
    scanner = RunScanner(runs.root)
    assert _last(scanner) is not None
    assert [_last(scanner) for _ in range(5)] == [None] * 5


def test_scanner_finds_added_and_removed_runs(runs: RunsFolder) -> None:
    first = _finish(runs.create(configs.build("ddpm")))
    scanner = RunScanner(runs.root)
    _last(scanner)
    second = _finish(runs.create(configs.build("dip")))
    assert {row.id for row in _rows(scanner)} == {first.id, second.id}
    shutil.rmtree(first.folder)
    os.utime(runs.root)
    assert [row.id for row in _rows(scanner)] == [second.id]


def test_scanner_follows_live_run_to_its_end(runs: RunsFolder) -> None:
    run = runs.create(configs.build("ddpm"))
    _alive(run)
    scanner = RunScanner(runs.root)
    (row,) = _rows(scanner)
    assert (row.state, row.progress) == (RunState.running, 0.25)
    append_events(run, events.RunFinished(seconds=1.0, step=100))
    assert _scan_until(scanner, lambda rows: rows[0].state is RunState.finished)


def test_scanner_finds_resumed_run_live_again(runs: RunsFolder) -> None:
    run = _finish(runs.create(configs.build("ddpm")))
    scanner = RunScanner(runs.root)
    _last(scanner)
    append_events(run, events.RunResumed(from_step=20))
    heartbeat.write(run.folder, heartbeat.Worker(this_process(), alive=time.time(), progressed=time.time()))
    assert _scan_until(scanner, lambda rows: rows[0].state is RunState.running)


def test_scanner_refresh_reads_new_tags(runs: RunsFolder) -> None:
    run = _finish(runs.create(configs.build("ddpm")))
    scanner = RunScanner(runs.root)
    _last(scanner)
    marks.write(run.folder, marks.RunNotes(("keep",)))
    scanner.refresh(run.id)
    assert _rows(scanner)[0].tags == ("keep",)


def test_run_row_is_stalled_without_progress(runs: RunsFolder) -> None:
    run = runs.create(configs.build("ddpm"))
    _alive(run)
    long_ago = time.time() - 2 * heartbeat.STALL_SECONDS
    heartbeat.write(run.folder, heartbeat.Worker(this_process(), alive=time.time(), progressed=long_ago))
    assert _rows(RunScanner(runs.root))[0].stalled


def test_scanner_skips_foreign_folder_and_marks_broken_run(runs: RunsFolder) -> None:
    (runs.root / "holiday").mkdir(parents=True)
    broken = runs.root / "20260101-000000-dip-abcd"
    broken.mkdir()
    (broken / "config.toml").write_text("kind = ")
    (row,) = _rows(RunScanner(runs.root))
    assert (row.id, row.state, row.kind) == (broken.name, RunState.broken, "")


def test_scanner_reads_summary_instead_of_config(runs: RunsFolder) -> None:
    """The summary holds everything that a row shows; it is rebuilt from config and log if it has an old format."""
    run = _finish(runs.create(configs.build("ddpm", settings={"name": "take 1"})))
    summary.write(run.folder, summary.read(run.folder))
    config = (run.folder / "config.toml").read_bytes()
    (run.folder / "config.toml").write_text("kind = ")
    before = _rows(RunScanner(runs.root))
    assert (before[0].name, before[0].state) == ("take 1", RunState.finished)
    (run.folder / "config.toml").write_bytes(config)
    stored = run.folder / "summary.json"
    stored.write_text(json.dumps({**json.loads(stored.read_text()), "format": 1, "name": "another"}))
    assert _last(RunScanner(runs.root)) == before


def test_sort_rows_puts_live_runs_first_and_unknown_last() -> None:
    def row(name: str, loss: float | None, state: RunState = RunState.finished) -> RunRow:
        return RunRow(id=name, best_loss=loss, state=state, name=name.upper())

    rows = [row("a", 0.5), row("b", None), row("c", 0.1), row("d", math.nan), row("e", 0.9, RunState.running)]
    assert [r.id for r in sort_rows(rows, "best_loss", descending=False)] == ["e", "c", "a", "d", "b"]
    assert [r.id for r in sort_rows(rows, "best_loss", descending=True)] == ["e", "a", "c", "d", "b"]
    assert [r.id for r in sort_rows(rows, "name", descending=False)] == ["e", "a", "b", "c", "d"]
    assert [r.id for r in sort_rows(rows, "id")] == ["e", "d", "c", "b", "a"]
    assert [r.id for r in sort_rows(rows, "tags")] == ["e", "d", "c", "b", "a"]


def test_round_age_gives_whole_units_never_negative() -> None:
    assert [round_age(seconds) for seconds in (-5, 59, 61, 3599, 3600, 90_000)] == [0, 0, 60, 3540, 3600, 86_400]


def test_scanner_shows_no_broken_row_for_run_deleted_after_the_listing(
    runs: RunsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.create(configs.build("dip"))
    scanner = RunScanner(runs.root)
    list_folder = scanner._list

    def list_and_delete() -> None:
        list_folder()
        (runs.root / ".trash").mkdir()
        run.folder.rename(runs.root / ".trash" / run.id)

    monkeypatch.setattr(scanner, "_list", list_and_delete)
    assert [row for rows, _ in scanner.scan() for row in rows if row.id == run.id] == []
