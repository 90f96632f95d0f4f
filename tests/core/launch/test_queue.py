"""Slots: as many at a time as there are, in the order of arrival, and nothing left behind by a process that died."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.launch import queue
from dipddpm.core.runs import heartbeat
from tests.helpers import Until, record_calls, this_process

Start = Callable[..., subprocess.Popen[str]]

HOLD = """
import sys
from dipddpm.core.launch import queue
run, *devices = sys.argv[1:]
slot = queue.acquire(run, devices, on_position=lambda n: print("ahead", n, flush=True))
print("got", slot.devices[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a process that takes a slot, says so, and keeps it until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(run: str, *devices: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, run, *(devices or ("cpu",))]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def served(process: subprocess.Popen[str]) -> str:
    """The device it got, however long it waited."""
    while not (line := said(process)).startswith("got"):
        assert line.startswith("ahead")
    return line.removeprefix("got ")


def waiting() -> list[str]:
    return [ticket.run for _, ticket in queue.waiting()]


def test_queue_serves_one_slot_in_order_of_arrival(start: Start, until: Until) -> None:
    holders = [start("a")]
    assert said(holders[0]) == "got cpu"
    for run in ("b", "c", "d"):
        holders.append(start(run))
        until(lambda: run in waiting())  # noqa: B023
    assert waiting() == ["b", "c", "d"]
    assert [said(holder) for holder in holders[1:]] == ["ahead 1", "ahead 1", "ahead 2"]
    holders[0].communicate()  # it ends as its input does
    assert served(holders[1]) == "cpu"
    until(lambda: waiting() == ["c", "d"])
    holders[1].kill()  # and a kill frees the slot as well
    assert served(holders[2]) == "cpu"


def test_queue_ignores_ticket_of_dead_process(start: Start, until: Until) -> None:
    first = start("a")
    said(first)
    dead = start("b")
    until(lambda: waiting() == ["b"])
    dead.kill()
    dead.wait()
    assert waiting() == []
    assert list(queue.folder().glob("*.ticket")) == []
    last = start("c")
    first.communicate()
    assert served(last) == "cpu"


def test_queue_sweeps_tickets_of_other_pid_or_boot() -> None:
    here = this_process()
    changes: list[dict[str, Any]] = [{"start": here.start + 1}, {"boot": "another"}, {"pid": 2**22 + 1}]
    for n, change in enumerate(changes):
        ticket = queue.Ticket("gone", ["cpu"], msgspec.structs.replace(here, **change))
        (queue.folder() / f"{n}.ticket").write_bytes(msgspec.json.encode(ticket))
    (queue.folder() / "9.ticket").write_bytes(b"\x00garbage")
    os.mkfifo(queue.folder() / "99.ticket")
    assert waiting() == []


def test_queue_runs_as_many_as_slots(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "2")
    assert [said(start("a")), said(start("b"))] == ["got cpu"] * 2
    assert said(start("c")) == "ahead 1"


def test_queue_acquire_takes_any_free_device(start: Start) -> None:
    assert said(start("a", "cuda:0", "cuda:1")) == "got cuda:0"
    assert said(start("b", "cuda:0", "cuda:1")) == "got cuda:1"
    assert said(start("c", "cuda:0", "cuda:1")) == "ahead 1"


def test_queue_gives_free_device_nobody_ahead_wants(start: Start, until: Until) -> None:
    said(start("busy", "cuda:0"))
    start("picky", "cuda:0")
    until(lambda: waiting() == ["picky"])
    assert said(start("easy", "cuda:0", "cuda:1")) == "got cuda:1"


def test_queue_move_reorders_tickets(start: Start, until: Until) -> None:
    holder = start("a")
    said(holder)
    later = []
    for run in ("b", "c"):
        later.append(start(run))
        until(lambda: run in waiting())  # noqa: B023
    queue.move("c", -1)
    assert waiting() == ["c", "b"]
    queue.move("nobody", 1)
    holder.communicate()
    assert served(later[1]) == "cpu"
    assert waiting() == ["b"]


def test_queue_acquire_gives_up_without_trace(start: Start) -> None:
    said(start("a"))
    asked = iter([False, False, True])
    assert queue.acquire("b", ["cpu"], should_give_up=lambda: next(asked)) is None
    assert waiting() == []


def test_slot_release_can_repeat_and_frees_slot() -> None:
    for _ in range(2):
        slot = queue.acquire("a", ["cpu"])
        assert slot is not None
        slot.release()
        slot.release()


@pytest.mark.parametrize("number", ["0", "-1", "many", "", "1.5"])
def test_queue_per_device_refuses_invalid_number(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", number)
    with pytest.raises(UserError, match="DIPDDPM_SLOTS"):
        queue.per_device()


def test_queue_folder_is_private_to_owner(tmp_path: Path) -> None:
    assert queue.folder() == tmp_path / "slots"
    assert queue.folder().stat().st_mode & 0o777 == 0o700


def test_queue_acquire_keeps_place_of_arrival_time(start: Start, until: Until) -> None:
    """However long a process takes to get ready to wait."""
    asked = queue.arrival_time()
    holder = start("a")
    said(holder)
    for run in ("b", "c"):
        start(run)
        until(lambda: run in waiting())  # noqa: B023
    ahead: list[int] = []
    assert (
        queue.acquire("early", ["cpu"], since=asked, should_give_up=lambda: bool(ahead), on_position=ahead.append)
        is None
    )
    assert ahead == [1]  # the holder alone, though the others have waited for longer
    queue.acquire("late", ["cpu"], should_give_up=lambda: len(ahead) > 1, on_position=ahead.append)
    assert ahead == [1, 2]


def test_queue_acquire_reads_each_ticket_once(monkeypatch: pytest.MonkeyPatch) -> None:
    other = heartbeat.process_identity(os.getppid())
    assert other is not None
    for place in range(100):
        (queue.folder() / f"{place:020d}-{other.pid}.ticket").write_bytes(
            msgspec.json.encode(queue.Ticket(str(place), ["cpu"], other))
        )
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.001)
    read = record_calls(monkeypatch, atomic, "read")
    looked = record_calls(monkeypatch, heartbeat, "runs_here")
    assert queue.acquire("mine", ["cpu"], should_give_up=lambda: len(looked) > 4) is None
    assert len(read) == 100
    assert {process.pid for (process,) in looked} == {other.pid}
