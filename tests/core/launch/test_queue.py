"""Tests of the queue: slots are granted in the order of arrival, and dead processes leave no ticket."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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
    """Return a function that starts a process which takes a slot, prints that, and holds it until its input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(run: str, *devices: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, run, *(devices or ("cpu",))]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def device_of(process: subprocess.Popen[str]) -> str:
    """Return the device that a process gets, and skip its reports about the queue."""
    while not (line := next_line(process)).startswith("got"):
        assert line.startswith("ahead")
    return line.removeprefix("got ")


def waiting() -> list[str]:
    return [ticket.run for _, ticket in queue.waiting()]


def test_queue_serves_one_slot_in_order_of_arrival(start: Start, until: Until) -> None:
    holders = [start("a")]
    assert next_line(holders[0]) == "got cpu"
    for run in ("b", "c", "d"):
        holders.append(start(run))
        until(lambda: run in waiting())  # noqa: B023
    assert waiting() == ["b", "c", "d"]
    assert [next_line(holder) for holder in holders[1:]] == ["ahead 1", "ahead 1", "ahead 2"]
    holders[0].communicate()  # the process ends with its input
    assert device_of(holders[1]) == "cpu"
    until(lambda: waiting() == ["c", "d"])
    holders[1].kill()  # a kill releases the slot as well
    assert device_of(holders[2]) == "cpu"


def test_queue_ignores_ticket_of_dead_process(start: Start, until: Until) -> None:
    first = start("a")
    next_line(first)
    dead = start("b")
    until(lambda: waiting() == ["b"])
    dead.kill()
    dead.wait()
    assert waiting() == []
    assert list(queue.folder().glob("*.ticket")) == []
    last = start("c")
    first.communicate()
    assert device_of(last) == "cpu"


def write_ticket(name: str, **change: Any) -> Path:
    """Write a ticket of this process, with these changes to its identity."""
    path = queue.folder() / name
    ticket = queue.Ticket("other", ["cpu"], msgspec.structs.replace(this_process(), **change))
    path.write_bytes(msgspec.json.encode(ticket))
    return path


def test_queue_removes_tickets_of_dead_processes() -> None:
    write_ticket("0.ticket", start=this_process().start + 1)
    write_ticket("1.ticket", pid=2**22 + 1)
    for n, change in enumerate(({"boot": "another"}, {"namespace": "pid:[1]"}), 2):
        silent = time.time() - heartbeat.SILENT_SECONDS - 1
        os.utime(write_ticket(f"{n}.ticket", **change), (silent, silent))
    (queue.folder() / "9.ticket").write_bytes(b"\x00garbage")
    os.mkfifo(queue.folder() / "99.ticket")
    assert waiting() == []
    assert len(list(queue.folder().iterdir())) == 2


def test_queue_waits_for_ticket_of_another_container() -> None:
    other = write_ticket("0.ticket", namespace="pid:[1]")
    assert waiting() == ["other"]
    ahead: list[int] = []
    assert queue.acquire("mine", ["cpu"], should_give_up=lambda: bool(ahead), on_position=ahead.append) is None
    assert ahead == [1]
    assert list(queue.folder().glob("*.ticket")) == [other], "the other process's ticket must stay, whatever its pid"
    silent = time.time() - heartbeat.SILENT_SECONDS - 1
    os.utime(other, (silent, silent))
    slot = queue.acquire("mine", ["cpu"])
    assert slot is not None
    slot.release()


def test_queue_renews_ticket_while_it_waits(start: Start, until: Until) -> None:
    next_line(start("a"))
    start("b")
    until(lambda: waiting() == ["b"])
    ((path, _),) = queue.waiting()
    os.utime(path, (1.0, 1.0))
    until(lambda: path.stat().st_mtime > 1.0)


def test_queue_reports_no_run_ahead_that_is_just_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(queue, "ENDING_SECONDS", 3600.0)
    holder = queue.acquire("ending", ["cpu"])
    assert holder is not None
    checks: list[None] = []

    def check() -> bool:
        checks.append(None)
        if len(checks) == 20:
            holder.release()
        return False

    ahead: list[int] = []
    slot = queue.acquire("next", ["cpu"], should_give_up=check, on_position=ahead.append)
    assert slot is not None
    slot.release()
    assert ahead == []


def test_queue_grants_as_many_slots_as_configured(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS", "2")
    assert [next_line(start("a")), next_line(start("b"))] == ["got cpu"] * 2
    assert next_line(start("c")) == "ahead 1"


def test_queue_acquire_takes_any_free_device(start: Start) -> None:
    assert next_line(start("a", "cuda:0", "cuda:1")) == "got cuda:0"
    assert next_line(start("b", "cuda:0", "cuda:1")) == "got cuda:1"
    assert next_line(start("c", "cuda:0", "cuda:1")) == "ahead 1"


def test_queue_grants_free_device_that_no_run_ahead_accepts(start: Start, until: Until) -> None:
    next_line(start("busy", "cuda:0"))
    start("picky", "cuda:0")
    until(lambda: waiting() == ["picky"])
    assert next_line(start("easy", "cuda:0", "cuda:1")) == "got cuda:1"


def test_queue_move_reorders_tickets(start: Start, until: Until) -> None:
    holder = start("a")
    next_line(holder)
    later = []
    for run in ("b", "c"):
        later.append(start(run))
        until(lambda: run in waiting())  # noqa: B023
    queue.move("c", -1)
    assert waiting() == ["c", "b"]
    queue.move("no such run", 1)
    holder.communicate()
    assert device_of(later[1]) == "cpu"
    assert waiting() == ["b"]


def test_queue_acquire_removes_ticket_on_giving_up(start: Start) -> None:
    next_line(start("a"))
    answers = iter([False, False, True])
    assert queue.acquire("b", ["cpu"], should_give_up=lambda: next(answers)) is None
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


def test_queue_acquire_orders_by_arrival_time(start: Start, until: Until) -> None:
    """A process may take long between its arrival time and its wait."""
    arrival = queue.arrival_time()
    holder = start("a")
    next_line(holder)
    for run in ("b", "c"):
        start(run)
        until(lambda: run in waiting())  # noqa: B023
    ahead: list[int] = []
    assert (
        queue.acquire("early", ["cpu"], since=arrival, should_give_up=lambda: bool(ahead), on_position=ahead.append)
        is None
    )
    assert ahead == [1]  # only the holder is ahead, although two others wait
    queue.acquire("late", ["cpu"], should_give_up=lambda: len(ahead) > 1, on_position=ahead.append)
    assert ahead == [1, 2]


def test_queue_acquire_reads_each_ticket_once(monkeypatch: pytest.MonkeyPatch) -> None:
    other = heartbeat.process_identity(os.getppid())
    assert other is not None
    for number in range(100):
        (queue.folder() / f"{number:020d}-{other.pid}.ticket").write_bytes(
            msgspec.json.encode(queue.Ticket(str(number), ["cpu"], other))
        )
    monkeypatch.setattr(queue, "POLL_SECONDS", 0.001)
    read = record_calls(monkeypatch, atomic, "read")
    checked = record_calls(monkeypatch, heartbeat, "runs_here")
    assert queue.acquire("mine", ["cpu"], should_give_up=lambda: len(checked) > 4) is None
    assert len(read) == 100
    assert {process.pid for (process,) in checked} == {other.pid}
