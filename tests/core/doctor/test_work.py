"""Tests of the checks of data sets, queue and runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from dipddpm.core.doctor import Severity, work
from dipddpm.core.launch import queue
from dipddpm.core.runs import EVENTS_FILE, RunsFolder, heartbeat
from tests.helpers import this_process
from tests.tui.driving import Maker


def test_doctor_runs_counts_states_and_names_troubled_runs(runs: RunsFolder) -> None:
    (none,) = work.runs(runs.root)
    assert "none yet" in none.message
    make = Maker(runs.root)
    for _ in range(5):
        make("ddpm", state="crashed")
    make("ddpm")
    broken = make("dip", state="gone")
    (broken.folder / "config.toml").unlink()
    (broken.folder / EVENTS_FILE).unlink()
    counts, crashed, unreadable = work.runs(runs.root)
    assert counts.message == f"1 broken, 5 crashed, 1 finished, in {runs.root}"
    assert crashed.message.endswith("and 2 more")
    newest = runs.runs()[0].id
    assert (crashed.verdict, crashed.remedy) == (Severity.note, f"Resume one with: dipddpm resume {newest}")
    assert broken.id in unreadable.message


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
    assert "without progress" in stalled.message
    assert run.id in stalled.remedy


def test_doctor_queue_removes_dead_tickets_and_names_unreadable() -> None:
    folder = queue.folder()
    (empty,) = work.queue()
    assert (empty.verdict, "0 running, 0 waiting" in empty.message) == (Severity.ok, True)
    own_identity = this_process()
    dead = msgspec.structs.replace(own_identity, start=own_identity.start + 1)
    for number, identity in enumerate((own_identity, dead)):
        ticket = msgspec.json.encode(queue.Ticket("some-run", ["cpu"], identity))
        (folder / f"{number:020d}-{own_identity.pid}.ticket").write_bytes(ticket)
    (removed,) = work.queue()
    assert (removed.verdict, "1 waiting" in removed.message) == (Severity.ok, True)
    assert "removed 1 ticket of dead workers" in removed.message
    (folder / "1-1.ticket").write_text("torn")
    (damaged,) = work.queue()
    assert (damaged.verdict, "1-1.ticket" in damaged.remedy) == (Severity.note, True)


def test_doctor_queue_names_slot_held_by_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    path = queue.folder() / "cpu.0.slot"
    with path.open("wb") as ours:
        fcntl.flock(ours, fcntl.LOCK_EX)
        assert work.slot_holders(queue.folder()) == {path: os.getpid()}
        (finding,) = work.queue()
        assert (finding.verdict, "1 running" in finding.message) == (Severity.ok, True)
    code = f"import fcntl; f = open({str(path)!r}); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    (finding,) = work.queue()
    other.communicate(b"\n")
    assert (finding.verdict, f"process {other.pid}" in finding.message) == (Severity.note, True)
    assert work.slot_holders(queue.folder()) == {}


def test_doctor_queue_reports_unusable_queue_as_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "many")
    (finding,) = work.queue()
    assert (finding.verdict, "many" in finding.message) == (Severity.problem, True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", str(tmp_path / "file" / "slots"))
    (finding,) = work.queue()
    assert finding.verdict is Severity.problem


def test_doctor_data_sets_reports_missing_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dipddpm.core.data.locate.DEBIAN_FOLDER", tmp_path)
    (finding,) = work.data_sets()
    assert (finding.verdict, "fashion-mini" in finding.message) == (Severity.note, True)
    assert "dipddpm data fetch fashionmnist" in finding.remedy
    monkeypatch.setattr("dipddpm.core.data.locate._holds", lambda folder, dataset: dataset.name == "fashionmnist")
    (finding,) = work.data_sets()
    assert (finding.verdict, "Reinstall dipddpm" in finding.remedy) == (Severity.problem, True)
    monkeypatch.setattr("dipddpm.core.data.locate._holds", lambda folder, dataset: True)
    finding, prior = work.data_sets()  # the tests' own folder has no reference runs
    assert (finding.verdict, prior.verdict) == (Severity.ok, Severity.note)
