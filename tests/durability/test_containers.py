"""A run in a container that has the host's name and shares its runs folder, seen from outside; real workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat, trash
from tests.durability.test_machines import DIPDDPM, allowed
from tests.helpers import Until

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
RUN = [
    "run",
    "dip",
    "--iterations",
    "100000",
    "--dataset",
    "fashion-mini",
    "--images",
    "0-0",
    "--set",
    "dip.stop=never",
]
KEEP_OPEN = "import subprocess, sys, time; subprocess.run(sys.argv[1:], check=True); time.sleep(600)"
"""A container ends with its first process, so this one outlives the command that it starts."""


@contextlib.contextmanager
def container(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a dipddpm command in a container, which stays until the end of the context."""
    first = [*CONTAINER, sys.executable, "-c", KEEP_OPEN, *DIPDDPM, *command, "--now", "--detach"]
    process = subprocess.Popen(first, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()  # --kill-child ends the container
        process.wait()


def refuse_all(run: Run) -> None:
    for act in (trash.delete, trash.keep_best_only, local.resume):
        with pytest.raises(UserError, match=r"still live|already running|Another process works on"):
            act(run)
    assert not local.send_signal(run, signal.SIGKILL)
    assert (run.folder / "config.toml").exists()


def pids_in(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the pids of the container's processes as seen from outside."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    (first,) = found.stdout.split()
    namespace = Path(f"/proc/{first}/ns/pid").readlink()
    pids = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "ns/pid").readlink() == namespace:
                pids.append(int(path.name))
    return pids


@pytest.mark.durability
def test_run_in_container_is_live_stoppable_and_resumable_outside(
    runs: RunsFolder, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not allowed(*CONTAINER):
        pytest.skip("this user can't create a PID namespace")
    with container(*RUN, "--runs-dir", str(runs.root)) as process:
        run = until(lambda: next(iter(runs.runs()), None))
        until(lambda: run.status().summary.step > 0)
        assert run.status().state is RunState.running
        refuse_all(run)
        assert local.stop(run) is RunState.stopped
        local.resume(run, now=True)
        until(lambda: run.status().state is RunState.running and heartbeat.read(run.folder) is not None)
        assert local.stop(run) is RunState.stopped
        trash.delete(run)

    with container(*RUN, "--runs-dir", str(runs.root)) as process:
        run = until(lambda: next(iter(runs.runs()), None))
        until(lambda: run.status().summary.step > 0)
        monkeypatch.setattr(heartbeat, "SILENT_SECONDS", 8.0)
        paused = pids_in(process)
        assert len(paused) >= 2
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        until(lambda: run.status().state is RunState.crashed)
        refuse_all(run)
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        until(lambda: run.status().state is RunState.running)
    # The container is gone, and with it the lock; the stamp outlives it for a while.
    with contextlib.suppress(UserError):
        trash.delete(run)
        pytest.fail("a container that ended a moment ago can't be distinguished from a live one")
    until(lambda: run.status().state is RunState.crashed)
    trash.delete(run)
    assert runs.runs() == []
