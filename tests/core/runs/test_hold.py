"""Tests of the lock of a run's log, which everything asks for that deletes, moves or restarts a run."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from dipddpm.core import config, events
from dipddpm.core.errors import UserError
from dipddpm.core.io import locks
from dipddpm.core.launch import local
from dipddpm.core.runs import (
    CHECKPOINT_FILE,
    EVENTS_FILE,
    EventLog,
    EventReader,
    Run,
    RunsFolder,
    RunState,
    extend,
    folder,
    heartbeat,
    log,
    trash,
)
from tests.helpers import this_process

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
WORKER = """
import sys, time
from pathlib import Path
from dipddpm.core import events
from dipddpm.core.runs import EventLog, heartbeat
folder = Path(sys.argv[1])
log = EventLog(folder)
log.append(events.RunStarted(kind="ddpm", method="tutorial", device="cpu"))
heartbeat.write(folder, heartbeat.Worker(heartbeat.process_identity(), alive=float(sys.argv[2] or time.time())))
print(flush=True)
sys.stdin.read()
"""
"""A worker that writes its file once, logs its start, and holds the log until its input ends."""


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (folder, trash, local, extend):
        for name in ("ENDING_SECONDS", "LOCK_SECONDS"):
            monkeypatch.setattr(module, name, 0.05, raising=False)


def make(runs: RunsFolder, *happened: events.Event) -> Run:
    run = runs.create(config.build("ddpm"))
    writer = EventLog(run.folder)
    for event in (events.RunStarted(kind="ddpm", method="tutorial", device="cpu", epochs=2, steps=20), *happened):
        writer.append(event)
    for name in ("best", "last"):
        (run.folder / f"checkpoints/{name}.safetensors").write_bytes(b"x" * 100)
    writer.append(events.BestModelStored(step=1, value=0.1, file="checkpoints/best.safetensors", sha256="0"))
    writer.append(events.CheckpointStored(step=1, file=CHECKPOINT_FILE, sha256="0"))
    writer.close()
    return run


@pytest.fixture
def crashed(runs: RunsFolder) -> Run:
    run = make(runs)
    assert run.status().state is RunState.crashed
    return run


def finish(run: Run) -> None:
    writer = EventLog(run.folder)
    writer.append(events.RunFinished(seconds=1.0))
    writer.close()


Act = Callable[[RunsFolder, Run], object]
ACTS: dict[str, Act] = {
    "rm": lambda runs, run: trash.delete(run),
    "prune": lambda runs, run: trash.keep_best_only(run),
    "resume": lambda runs, run: local.resume(run),
    "start": lambda runs, run: local.start(run),
}


def content(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run.folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("act", ACTS.values(), ids=list(ACTS))
def test_run_of_another_process_is_left_alone(act: Act, runs: RunsFolder, crashed: Run) -> None:
    """A paused worker, or one on a machine whose clock is behind, seems to be gone, but holds the lock."""
    (crashed.folder / "stop").touch()
    before = content(crashed)
    holder = EventLog(crashed.folder)
    with pytest.raises(UserError, match=f"Another process works on {crashed.id}"):
        act(runs, crashed)
    assert content(crashed) == before
    assert runs.runs() == [crashed]
    holder.close()
    with log.hold(crashed.folder), pytest.raises(UserError, match=f"Another process works on {crashed.id}"):
        act(runs, crashed)
    assert content(crashed) == before


def test_extend_refuses_held_run_but_not_another_reader(runs: RunsFolder) -> None:
    run = make(runs)
    finish(run)
    holder = EventLog(run.folder)
    with pytest.raises(UserError, match="Another process works on"):
        extend.extend(runs, run, 1)
    holder.close()
    with log.hold(run.folder, shared=True):
        assert extend.extend(runs, run, 1).id == runs.find("last").id
        with pytest.raises(UserError, match="Another process works on"):
            trash.delete(run)


def test_extended_run_is_newest_and_names_its_origin(runs: RunsFolder) -> None:
    old = make(runs)
    finish(old)
    path = old.folder / EVENTS_FILE
    writer_lines = [msgspec.structs.replace(event, time=1.7e9 + n) for n, event in enumerate(old.events())]
    path.write_bytes(b"".join(map(events.encode, writer_lines)))
    other = make(runs)
    new = extend.extend(runs, old, 1)
    assert abs(new.created - time.time()) < 60
    assert [run.id for run in runs.runs()] == [new.id, other.id, old.id]
    assert isinstance(new.events()[0], events.Message)


def test_undelete_and_emptying_leave_held_run_in_the_trash(runs: RunsFolder, crashed: Run) -> None:
    trash.delete(crashed)
    with log.hold(runs.root / trash.TRASH / crashed.id):
        with pytest.raises(UserError, match="Another process works on"):
            trash.undelete(runs, crashed.id)
        trash.empty_trash(runs)
        assert trash.trashed(runs) == [crashed.id]
    assert trash.undelete(runs, crashed.id) == crashed


def test_deletion_and_others_at_the_same_time_succeed_once(runs: RunsFolder) -> None:
    """If several threads delete or restore one run, one of them wins each time, and nothing is lost."""
    run = make(runs)
    finish(run)
    before = content(run)
    for _ in range(5):
        for act, left in ((lambda: trash.delete(run), []), (lambda: trash.undelete(runs, run.id), [run])):
            barrier = threading.Barrier(6)
            successes: list[object] = []

            def attempt(act: Callable[[], object] = act, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                try:
                    act()
                except UserError:
                    return
                successes.append(None)  # noqa: B023

            threads = [threading.Thread(target=attempt) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(successes) == 1
            assert runs.runs() == left
    assert content(run) == before


def test_hold_and_log_refuse_folder_that_was_moved_meanwhile(
    runs: RunsFolder, crashed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    try_lock = locks.try_lock

    def move_and_lock(descriptor: int) -> bool | None:
        monkeypatch.undo()
        crashed.folder.rename(runs.root / "moved")
        return try_lock(descriptor)

    for use in (lambda: log.hold(crashed.folder).__enter__(), lambda: EventLog(crashed.folder)):
        monkeypatch.setattr(locks, "try_lock", move_and_lock)
        with pytest.raises(UserError, match="no longer there"):
            use()
        (runs.root / "moved").rename(crashed.folder)
    EventLog(crashed.folder).close()
    with pytest.raises(UserError, match="no longer there"), log.hold(runs.root / "nowhere"):
        pass


def test_without_locks_the_last_update_decides(runs: RunsFolder, crashed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "try_lock", lambda descriptor: None)
    elsewhere = msgspec.structs.replace(this_process(), host="elsewhere")
    heartbeat.write(crashed.folder, heartbeat.Worker(elsewhere, alive=time.time()))
    with pytest.raises(UserError, match="still live"):
        trash.delete(crashed)
    heartbeat.write(crashed.folder, heartbeat.Worker(elsewhere, alive=time.time() - 61))
    trash.delete(crashed)
    assert trash.undelete(runs, crashed.id) == crashed


def test_run_that_is_just_being_resumed_is_left_alone(runs: RunsFolder) -> None:
    """Its worker has started, but has neither the lock nor an event yet."""
    run = make(runs, events.RunStopped(reason="asked to stop"))
    starting = subprocess.Popen(["sleep", "300"])
    identity = heartbeat.process_identity(starting.pid)
    assert identity is not None
    heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time()))
    assert run.status().state is RunState.stopped
    for act in (trash.delete, trash.keep_best_only):
        with pytest.raises(UserError, match="has not ended yet"):
            act(run)
    assert (run.folder / CHECKPOINT_FILE).exists()
    starting.kill()
    starting.wait()
    trash.delete(run)


def test_prune_goes_on_after_a_refusal(runs: RunsFolder, crashed: Run) -> None:
    ended = make(runs)
    finish(ended)
    with log.hold(crashed.folder), pytest.raises(UserError, match="Another process works on"):
        trash.prune(runs.runs())
    assert (crashed.folder / CHECKPOINT_FILE).exists()
    assert not (ended.folder / CHECKPOINT_FILE).exists()


def test_run_without_log_can_be_deleted(runs: RunsFolder) -> None:
    run = runs.create(config.build("ddpm"))
    heartbeat.write(run.folder, heartbeat.Worker(msgspec.structs.replace(this_process(), start=1)))
    trash.delete(run)
    assert runs.runs() == []


@pytest.fixture
def container(runs: RunsFolder) -> Iterator[Callable[..., tuple[Run, subprocess.Popen[str]]]]:
    """Return a function that starts a worker in a PID namespace of its own, with this host's name."""
    check = subprocess.run([*CONTAINER, "true"], capture_output=True, check=False)
    if check.returncode:
        pytest.skip("this user can't create a PID namespace")
    started: list[subprocess.Popen[str]] = []

    def start(alive: str = "") -> tuple[Run, subprocess.Popen[str]]:
        run = runs.create(config.build("ddpm"))
        command = [*CONTAINER, "--kill-child", sys.executable, "-c", WORKER, str(run.folder), alive]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return run, process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_run_in_a_container_is_live_from_outside(
    runs: RunsFolder, container: Callable[..., tuple[Run, subprocess.Popen[str]]]
) -> None:
    # A sign of life an hour ahead, as by another clock, so that none is a minute old however long the test takes.
    run, process = container(alive=str(time.time() + 3600))
    worker = heartbeat.read(run.folder)
    assert worker is not None
    assert (worker.identity.host, worker.identity.pid) == (this_process().host, 1)
    assert worker.identity.namespace not in {"", this_process().namespace}
    assert run.status().state is RunState.running
    for act in ACTS.values():
        with pytest.raises(UserError, match=r"still live|already running"):
            act(runs, run)
    for number in (signal.SIGTERM, signal.SIGKILL):
        assert not local.send_signal(run, number), "pid 1 is another process here"
    local.request_stop(run)
    assert (run.folder / "stop").exists()
    process.communicate()
    # The worker is gone, but nothing here can know that for a minute, except that a run that has ended is not locked.
    assert run.status().state is RunState.running
    finish(run)
    trash.delete(run)


def test_run_in_a_paused_container_is_locked(
    runs: RunsFolder, container: Callable[..., tuple[Run, subprocess.Popen[str]]]
) -> None:
    run, process = container(alive=str(time.time() - 3600))
    assert run.status().state is RunState.crashed
    for act in ACTS.values():
        with pytest.raises(UserError, match="Another process works on"):
            act(runs, run)
    assert runs.runs() == [run]
    local.request_stop(run)
    process.communicate()
    with pytest.raises(UserError, match="is not running"):
        local.request_stop(run)
    trash.delete(run)
    assert runs.runs() == []


IDENTITY = """
import os
from dipddpm.core.runs import heartbeat
own = heartbeat.process_identity()
print(own.start > 0, own.pid == os.getpid(), heartbeat.runs_here(own))
"""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"'], "False True None"),
        (CONTAINER[:-1], "True True True"),  # /proc shows the pids of the namespace outside
        (CONTAINER, "True True True"),
    ],
    ids=["no /proc", "/proc of another namespace", "container"],
)
def test_process_identity_where_proc_is_odd(command: Sequence[str], expected: str) -> None:
    done = subprocess.run([*command, sys.executable, "-c", IDENTITY], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip("this user can't create a namespace")
    assert done.stdout.strip() == expected


def test_process_hidden_by_hidepid_is_judged_by_its_stamp() -> None:
    """With this mount option, other users' processes are not in /proc."""
    script = f"""
import os
from dipddpm.core.runs import heartbeat
os.setgroups([]), os.setgid(54321), os.setuid(54321)
print(heartbeat.runs_here({this_process()!r}))
""".replace("ProcessIdentity", "heartbeat.ProcessIdentity")
    hidden = 'mount -t proc -o hidepid=2 proc /proc && exec "$0" "$@"'
    command = ["unshare", "--mount", "sh", "-c", hidden, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this user can't hide processes")
    assert done.stdout == "None\n"


def test_log_of_deleted_run_is_read_to_its_end(runs: RunsFolder, crashed: Run) -> None:
    """A run moved to the trash between two polls reads as empty, not as an error."""
    reader = EventReader(crashed.folder)
    assert reader.read()
    trash.delete(crashed)
    assert reader.read() == []
    assert crashed.status().state is RunState.broken
    with pytest.raises(UserError, match="no longer there"):
        trash.delete(crashed)
    assert trash.prunable([crashed]) == {}
