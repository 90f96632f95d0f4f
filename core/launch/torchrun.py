"""Runs of several processes: the worker starts them through torchrun and waits for their end.

The worker itself computes nothing. It holds the slots, updates worker.json and passes a request to stop on to its
processes; rank 0 writes the run's events. If a process fails, torchrun ends the others, and the run can be resumed from
its last checkpoint.
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
    """Start a process per device, wait for all, and return torchrun's exit code; a `stop_reason` stops them."""
    command = python_module("dipddpm.core.launch.torchrun", "--standalone")
    command += ["--nproc-per-node", str(len(devices)), "-m", "dipddpm.core.launch.worker"]
    command += [str(folder), "--member-of", ",".join(devices)] + ["--resume"] * resume
    # torchrun starts the processes itself; for them, this variable replaces the option -P.
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


def end_with_worker() -> None:
    """Make the kernel send SIGTERM to this process when its parent process ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    # Run torchrun in a process that ends with the worker.
    end_with_worker()
    # Slurm sends this signal to all processes of a job; the worker alone handles it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    from torch.distributed.run import main

    main(sys.argv[1:])
