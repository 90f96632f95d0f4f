"""Tests of the order and the age of runs: by one time since 1970, whatever zones and clocks there were."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.runs import CONFIG_FILE, EVENTS_FILE, EventLog, Run, RunsFolder, creation
from dipddpm.tui.cli.runs import LIST_COLUMNS, _list_row
from dipddpm.tui.shared.runlist import RunScanner, sort_rows

CONFIG = configs.build("dip")
ZONES = ("Asia/Tokyo", "America/Los_Angeles", "Asia/Kathmandu", "Pacific/Kiritimati", "Etc/GMT+12", "UTC")


@pytest.fixture
def runs(tmp_path: Path) -> RunsFolder:
    return RunsFolder(tmp_path / "runs")


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Set the time zone with `setenv` and `time.tzset`; the old one comes back."""
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def older(root: Path, at: float, zone: str, *, logged_after: float | None = 2.0, number: int = 0) -> Run:
    """Make a run as older versions did, named in the local time of a zone."""
    local = datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y%m%d-%H%M%S")
    run = Run(root / f"{local}-dip-{number:04x}")
    run.folder.mkdir(parents=True)
    (run.folder / CONFIG_FILE).write_text(configs.to_toml(CONFIG))
    if logged_after is not None:
        log = EventLog(run.folder)
        log.append(events.RunQueued(device="cpu", time=at + logged_after))
        log.append(events.RunStopped(reason="asked to stop", time=at + logged_after + 5))
        log.close()
    return run


def test_created_runs_are_ordered_under_any_time_zone(runs: RunsFolder, zone: pytest.MonkeyPatch) -> None:
    made, began = [], time.time()
    for name in ("Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati", "UTC", "Etc/GMT+12"):
        zone.setenv("TZ", name)
        time.tzset()
        before = time.time()
        made.append(runs.create(CONFIG).id)
        assert runs.find("last").id == made[-1]
        assert before - 1 <= runs.find("last").created <= time.time() + 1
    assert [run.id for run in runs.runs()] == made[::-1]
    seconds = [datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp() for run_id in made]
    assert all(began - 1 <= second <= time.time() + 1 for second in seconds), "the ids are in UTC"


def test_run_of_this_second_has_no_age_in_any_zone(runs: RunsFolder, zone: pytest.MonkeyPatch) -> None:
    zone.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    run = runs.create(CONFIG)
    zone.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    age = _list_row(run.status())[LIST_COLUMNS.index("AGE")]
    assert age == "now" or age.endswith("s")
    ((row, *_),) = [rows for rows, complete in RunScanner(runs.root).scan() if complete]
    assert (row.id, row.age) == (run.id, 0.0)


def test_runs_named_in_local_time_are_ordered_by_their_first_events(runs: RunsFolder) -> None:
    now = time.time()
    made = [older(runs.root, now - 3600 * (6 - n) - 30, name, number=n).id for n, name in enumerate(ZONES)]
    newest = runs.create(CONFIG).id
    assert [run.id for run in runs.runs()] == [newest, *made[::-1]]
    rows = [rows for rows, complete in RunScanner(runs.root).scan() if complete][-1]
    own = [row for row in rows if not row.reference]
    assert [row.id for row in own] == [newest, *made[::-1]]
    assert [row.age for row in own] == [0.0, *(3600.0 * hours for hours in range(1, 7))]
    assert [row.id for row in sort_rows(own, "method")] == [newest, *made[::-1]]


def test_hour_that_comes_twice_keeps_its_order(runs: RunsFolder) -> None:
    """On 25 October 2026 the clock in Berlin went from 3:00 back to 2:00 at 1:00 UTC."""
    change = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()
    made = [older(runs.root, change + 60 * m, "Europe/Berlin", number=m + 99).id for m in (-40, -20, -1, 1, 19, 39)]
    assert sorted(made) != made, "the names alone have the wrong order"
    assert [run.id for run in runs.runs()] == made[::-1]


@given(
    offset=st.integers(-12 * 4, 14 * 4).map(lambda quarters: quarters * 900.0),
    delay=st.floats(0.0, 60.0),
    at=st.floats(1.5e9, 1.7e9),
)
def test_created_is_within_a_minute_for_every_zone(
    offset: float, delay: float, at: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("zone") / creation.run_id("dip", at + offset)
    folder.mkdir()
    log = EventLog(folder)
    log.append(events.RunQueued(device="cpu", time=at + delay))
    log.close()
    # A zone of a quarter of an hour exists nowhere, and can't be distinguished from a slow start.
    tolerance = creation.CLOCK_SECONDS if abs(offset) <= creation.CLOCK_SECONDS else 61.0
    assert abs(creation.created(folder) - at) <= tolerance + 1.0


def test_run_without_events_is_dated_by_its_id(runs: RunsFolder) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert older(runs.root, at, "UTC", logged_after=None).created == at
    assert older(runs.root, at, "UTC", logged_after=None, number=0x8000).created == at + 0.5


def test_first_event_is_found_behind_torn_and_foreign_lines(runs: RunsFolder) -> None:
    at = time.time() - 86400
    run = older(runs.root, at, "Asia/Tokyo", logged_after=None)
    path = run.folder / EVENTS_FILE
    path.write_bytes(b'{"event":"run_qu')
    assert Run(run.folder).created == pytest.approx(at + 9 * 3600, abs=1), "no whole line yet"
    path.write_bytes(b'{"event":"run_qu\n[1]\n{"time":0}\n{"time":%f}\n{"time":5.0}\n' % at)
    assert run.created == pytest.approx(at, abs=1e-3)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 9000, b"{" * 9000, b'{"time":1e300}\n', b'{"time":"nan"}\n'])
def test_damaged_log_leaves_the_id(content: bytes | None, runs: RunsFolder) -> None:
    run = older(runs.root, 1.6e9, "UTC", logged_after=None)
    if content is None:
        os.mkfifo(run.folder / EVENTS_FILE)
    else:
        (run.folder / EVENTS_FILE).write_bytes(content)
    assert run.created == 1.6e9


def test_copied_and_renamed_runs_keep_their_time(runs: RunsFolder) -> None:
    at = time.time() - 86400
    run = older(runs.root, at, "Asia/Tokyo")
    newer = older(runs.root, at + 3600, "UTC")
    for name in ("my best run", f"{run.id}-copy", f"{run.id} (2)"):
        shutil.copytree(run.folder, runs.root / name)
        assert Run(runs.root / name).created == pytest.approx(at, abs=5)
    assert runs.find("last") == newer


def test_clock_put_right_before_the_first_event(runs: RunsFolder) -> None:
    """A machine without a battery starts in 1970 until it has reached a time server."""
    at = time.time() - 3600
    for number, wrong in enumerate((0.0, at - 86400 * 400, at + 7200)):
        folder = runs.root / creation.run_id("dip", wrong + number)
        folder.mkdir(parents=True)
        log = EventLog(folder)
        log.append(events.RunQueued(device="cpu", time=at + number))
        log.close()
        assert Run(folder).created == pytest.approx(at + number)


def test_clock_set_back_between_runs_keeps_their_order(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    made = []
    for at in (now, now - 1, now - 600, now - 600, now - 1, now + 0.5):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        made.append(runs.create(CONFIG).id)
        assert abs(runs.find("last").created - at) <= creation.CLOCK_SECONDS
    assert [run.id for run in runs.runs()] == made[::-1]


def test_run_from_the_future_is_not_last(runs: RunsFolder) -> None:
    now = time.time()
    older(runs.root, now + 86400, "UTC", logged_after=0.5)
    older(runs.root, now + 86400 * 3000, "UTC", logged_after=None, number=1)
    newest = runs.create(CONFIG)
    assert abs(newest.created - now) < 60, "a wrong clock of the past must not spread"
    assert runs.find("last") == newest
    assert runs.runs()[0] == newest
    rows = [rows for rows, complete in RunScanner(runs.root).scan() if complete][-1]
    assert rows[0].id == sort_rows(rows, "name")[0].id == newest.id


def test_log_that_an_older_version_copied_leaves_the_id(runs: RunsFolder) -> None:
    at = time.time() - 3600
    folder = runs.root / creation.run_id("ddpm", at)
    folder.mkdir(parents=True)
    log = EventLog(folder)
    log.append(events.RunStarted(kind="ddpm", method="unet", device="cpu", time=at - 86400 * 7))
    log.close()
    assert Run(folder).created == pytest.approx(at, abs=1e-3)


def test_reference_runs_are_dated_in_utc() -> None:
    for run in RunsFolder(Path("nowhere")).references():
        first = run.events()[0].time
        assert abs(run.created - first) < creation.CLOCK_SECONDS
        assert run.id[:13] == datetime.fromtimestamp(run.created, UTC).strftime("%Y%m%d-%H%M")
