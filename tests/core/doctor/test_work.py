"""Data, queue and runs: what is missing, who holds a slot, and which runs want a look."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from dipddpm.core.doctor import Severity, work
from dipddpm.core.doctor.finding import Finding
from dipddpm.core.launch import queue
from dipddpm.core.runs import EVENTS_FILE, RunsFolder, heartbeat
from tests.helpers import this_process
from tests.tui.driving import Maker


def told(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.told: finding for finding in findings}


def test_doctor_runs_counts_states_and_names_troubled_runs(runs: RunsFolder) -> None:
    (nothing,) = work.runs(runs.root)
    assert "none yet" in nothing.told
    make = Maker(runs.root)
    for _ in range(5):
        make("ddpm", state="crashed")
    make("ddpm")
    broken = make("dip", state="gone")
    (broken.folder / "config.toml").unlink()
    (broken.folder / EVENTS_FILE).unlink()
    counted, crashed, unread = work.runs(runs.root)
    assert counted.told == f"1 broken, 5 crashed, 1 finished, in {runs.root}"
    assert crashed.told.endswith("and 2 more")
    newest = runs.runs()[0].id
    assert (crashed.verdict, crashed.remedy) == (Severity.note, f"Go on with one: dipddpm resume {newest}")
    assert broken.id in unread.told


def test_doctor_runs_names_stalled_run(runs: RunsFolder) -> None:
    make = Maker(runs.root)
    run = make("ddpm", state="running")
    try:
        worker = heartbeat.read(run.folder)
        assert worker is not None
        heartbeat.write(run.folder, msgspec.structs.replace(worker, progressed=time.time() - 3600))
        _, stalled = work.runs(runs.root)
    finally:
        make.processes[0].kill()
        make.processes[0].wait()
    assert "not advancing" in stalled.told
    assert run.id in stalled.remedy


def test_doctor_queue_clears_dead_tickets_and_names_unreadable() -> None:
    folder = queue.folder()
    (quiet,) = work.queue()
    assert (quiet.verdict, "0 at work, 0 waiting" in quiet.told) == (Severity.ok, True)
    mine = this_process()
    for number, who in enumerate((mine, msgspec.structs.replace(mine, start=mine.start + 1))):
        ticket = msgspec.json.encode(queue.Ticket("some-run", ["cpu"], who))
        (folder / f"{number:020d}-{mine.pid}.ticket").write_bytes(ticket)
    (cleared,) = work.queue()
    assert (cleared.verdict, "1 waiting" in cleared.told) == (Severity.ok, True)
    assert "1 left by workers that ended" in cleared.told
    (folder / "1-1.ticket").write_text("torn")
    (damaged,) = work.queue()
    assert (damaged.verdict, "1-1.ticket" in damaged.remedy) == (Severity.note, True)


def test_doctor_queue_names_slot_held_by_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    path = queue.folder() / "cpu.0.slot"
    with path.open("wb") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        assert work.slot_holders(queue.folder()) == {path: os.getpid()}
        (found,) = work.queue()
        assert (found.verdict, "1 at work" in found.told) == (Severity.ok, True)
    code = f"import fcntl; f = open({str(path)!r}); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    (found,) = work.queue()
    other.communicate(b"\n")
    assert (found.verdict, f"process {other.pid}" in found.told) == (Severity.note, True)
    assert work.slot_holders(queue.folder()) == {}


def test_doctor_queue_reports_unusable_queue_as_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "many")
    (found,) = work.queue()
    assert (found.verdict, "many" in found.told) == (Severity.problem, True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", str(tmp_path / "file" / "slots"))
    (found,) = work.queue()
    assert found.verdict is Severity.problem


def test_doctor_data_sets_reports_missing_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dipddpm.core.data.locate.DEBIAN_FOLDER", tmp_path)
    data, prior = work.data_sets(), None
    (found,) = data
    assert (found.verdict, "fashion-mini" in found.told) == (Severity.note, True)
    assert "dipddpm data fetch fashionmnist" in found.remedy
    monkeypatch.setattr("dipddpm.core.data.locate._holds", lambda folder, dataset: dataset.name == "fashionmnist")
    (found,) = work.data_sets()
    assert (found.verdict, "Install dipddpm again" in found.remedy) == (Severity.problem, True)
    monkeypatch.setattr("dipddpm.core.data.locate._holds", lambda folder, dataset: True)
    found, prior = work.data_sets()  # the tests' own folder has no reference runs
    assert (found.verdict, prior.verdict) == (Severity.ok, Severity.note)
