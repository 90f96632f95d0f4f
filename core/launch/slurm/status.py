"""What Slurm says of this user's jobs, through its own commands. Loads no torch, and no submitit.

All jobs are asked for at once, and the answer holds for some seconds: the console and `ls` look at many runs, and the
controller of a cluster is everybody's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FRESH_SECONDS = 5.0
PATIENCE_SECONDS = 15.0
"""A controller that is busy may take so long to answer."""
_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_RUNS = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
"""A job that is completing either has ended or has just been requeued; its processes may not know yet."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as squeue has it. `reason` is why it waits, `folder` the one that it works in."""

    state: str
    reason: str = ""
    folder: str = ""

    @property
    def waits(self) -> bool:
        """It has no node yet, or waits to be started again."""
        return self.state in _WAITS

    @property
    def ended(self) -> bool:
        """It has ended, and won't be started again by itself."""
        return self.state not in _WAITS | _RUNS


GONE = SlurmJob("")
"""A job that ended some minutes ago, which squeue no longer lists."""


@dataclass(frozen=True)
class QueueSnapshot:
    """This user's jobs, by number, as they were at a moment."""

    at: float
    jobs: Mapping[str, SlurmJob]


class _QueueCache:
    """The last answer. Whoever comes when it is old gets it all the same, and it is asked for anew beside them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: QueueSnapshot | None = None
        self._refreshed_at = -FRESH_SECONDS

    def get(self, *, now: bool) -> QueueSnapshot | None:
        """The jobs; None where Slurm isn't here or doesn't answer."""
        if now or self._refreshed_at < 0:
            with self._lock:
                return self._refresh()
        if time.monotonic() - self._refreshed_at > FRESH_SECONDS and self._lock.acquire(blocking=False):
            threading.Thread(target=self._refresh_in_background, name="squeue", daemon=True).start()
        return self._answer

    def _refresh_in_background(self) -> None:
        try:
            self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> QueueSnapshot | None:
        at = time.time()
        lines = _run_command(["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%Z"])
        self._answer = None if lines is None else QueueSnapshot(at, dict(map(_parse_job, lines)))
        self._refreshed_at = time.monotonic()
        return self._answer


_queue_cache = _QueueCache()


def queue(*, now: bool = False) -> QueueSnapshot | None:
    """This user's jobs as they were some seconds ago, or are `now`, and those that ended in the last minutes.

    None where Slurm can't be asked. Only the first call waits for the answer, and those for `now`.
    """
    return _queue_cache.get(now=now)


def accounting_state(number: str) -> str:
    """How a job ended that squeue no longer lists, as OUT_OF_MEMORY; empty where no accounting is kept."""
    lines = _run_command(["sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={number}"])
    return lines[0].partition(" ")[0] if lines else ""


def cancel(number: str, *, waiting: bool = False) -> None:
    """Have Slurm end a job (with `waiting`, only if it has not begun): SIGTERM, and after its KillWait SIGKILL."""
    _run_command(["scancel", *["--state=PENDING"] * waiting, number])


def was_requeued(number: str) -> bool:
    """Whether Slurm has put the job that this process belongs to back into its queue, to start it again."""
    match = re.search(
        r"\bRestarts=(\d+)", " ".join(_run_command(["scontrol", "--oneliner", "show", "job", number]) or ())
    )
    return match is not None and int(match[1]) > int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _parse_job(line: str) -> tuple[str, SlurmJob]:
    number, state, reason, folder = (line.split("|", 3) + [""] * 3)[:4]
    return number, SlurmJob(state, "" if reason == "None" else reason, folder)


def _run_command(command: Sequence[str]) -> list[str] | None:
    """The lines that a command prints; None where it isn't there, fails or doesn't come back."""
    if shutil.which(command[0]) is None:
        return None
    try:
        # A group of its own: a signal that a job's processes get is not meant for it.
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            process_group=0,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.decode(errors="surrogateescape").splitlines()
