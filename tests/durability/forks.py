"""Workers forked from a process that has already loaded torch, which saves seconds of processor time for each.

`core.launch.local` starts them and they run `core.launch.worker.main` as usual; only the creation of the process
differs. Run as a program, this module is the process that forks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from dipddpm.core.runs import heartbeat

LOADED = (
    "torch._dynamo",
    "dipddpm.core.launch.recorder",
    "dipddpm.core.runs.environment",
    "dipddpm.core.experiments.hybrid",
    "dipddpm.core.experiments.restore.experiment",
    "dipddpm.core.experiments.explanation",
)


class ForkedWorkers:
    """A replacement for `subprocess.Popen` in `dipddpm.core.launch.local`."""

    def __init__(self) -> None:
        began = time.monotonic()
        self.forker = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.forker.stdout is not None
        self.forker.stdout.readline()
        self.loading_seconds = time.monotonic() - began
        """The start-up time of a worker that isn't forked."""

    def __call__(self, command: list[str], *, stdout: Any, env: dict[str, str], **_: Any) -> Forked:
        """Fork a worker with the arguments that follow `-m dipddpm.core.launch.worker`."""
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        arguments = command[command.index("dipddpm.core.launch.worker") + 1 :]
        self.forker.stdin.write(json.dumps([arguments, stdout.name, env]) + "\n")
        self.forker.stdin.flush()
        return Forked(int(self.forker.stdout.readline()))

    def close(self) -> None:
        """End the process that forks; its workers continue."""
        self.forker.communicate(timeout=60)


class Forked:
    """A forked worker, with the methods of `subprocess.Popen` that `dipddpm.core.launch.local` calls."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._identity = heartbeat.process_identity(pid)

    def poll(self) -> int | None:
        """Return None while the process lives, then 0; only the process that forked it knows the exit code."""
        return None if self._identity is not None and heartbeat.runs_here(self._identity) else 0

    def wait(self, timeout: float | None = None) -> int:
        """Return at once, because callers wait only for workers that they have killed."""
        return 0


def serve() -> None:
    """Fork a worker for each line of the standard input, until its end."""
    import importlib

    for name in LOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that ended workers leave no zombies
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_work(*json.loads(line)))
        print(pid, flush=True)


def _work(arguments: list[str], output: str, environment: dict[str, str]) -> int:
    from dipddpm.core.launch import worker

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    log, nothing = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT), os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, number)
    return worker.main(arguments)


if __name__ == "__main__":
    serve()
