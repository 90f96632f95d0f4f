"""The worker of a run that several processes share: it starts them through torchrun, and sees them to their end.

The worker itself computes nothing. It holds the slots, stamps worker.json and passes the wish to stop on; the first of
its processes writes the run's events. When one of them fails torchrun ends the others, and the run goes on from its
last checkpoint when it is resumed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from dipddpm.core.runs import EVENTS_FILE, STOP_FILE
from dipddpm.core.runs.environment import python_module

POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1


def run_torchrun(
    folder: Path, devices: list[str], *, resume: bool, stop_reason: Callable[[], str], on_progress: Callable[[], None]
) -> int:
    """Start a process for each device, and wait; torchrun's exit code. They stop once there is a `stop_reason`."""
    command = python_module("dipddpm.core.launch.torchrun", "--standalone")
    command += ["--nproc-per-node", str(len(devices)), "-m", "dipddpm.core.launch.worker"]
    command += [str(folder), "--member-of", ",".join(devices)] + ["--resume"] * resume
    # torchrun starts its processes itself: the variable is their -P.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
    log, size = folder / EVENTS_FILE, -1
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        if stop_reason():
            (folder / STOP_FILE).touch()
        with contextlib.suppress(OSError):
            if log.stat().st_size != size:
                size = log.stat().st_size
                on_progress()
    return process.returncode


def die_with_parent() -> None:
    """Have the kernel send SIGTERM when the process that started this one ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    # What torchrun does, in a process that doesn't outlive the worker.
    die_with_parent()
    # Slurm sends it to all processes of a job; the worker passes on what it means.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    from torch.distributed.run import main

    main(sys.argv[1:])
