"""A run as a job of a Slurm cluster: job.json, which names the job, and what Slurm's own commands say of it.

A job that waits has no process yet, and one on another machine is known by its stamps alone: Slurm knows better. All
jobs are asked for at once, and the answer holds for some seconds: the console and `ls` look at many runs, and the
controller of a cluster is everybody's. A run without job.json starts no foreign program. Loads no torch, no submitit.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from dipddpm.core.io import atomic, records
from dipddpm.core.runs import heartbeat
from dipddpm.core.runs.summary import RunState, Summary

JOB_FILE = "job.json"
CLOCKS_SECONDS = 10.0
"""Slurm may not list a job yet that was submitted so shortly before."""
ENDED_AS = {
    "OUT_OF_MEMORY": "Slurm ended its job, which took more memory than it was given: resume it with more, as --on "
    "slurm:mem=64G.",
    "TIMEOUT": "The time of its job was up: resume it, with more time if that happens again.",
    "DEADLINE": "The deadline of its job came: resume it.",
    "CANCELLED": "Its job was cancelled: resume it.",
    "PREEMPTED": "Its job had to make way for another one: resume it.",
    "NODE_FAIL": "The node that its job was on failed: resume it.",
    "BOOT_FAIL": "The node that its job was to be on did not start: resume it.",
}
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
    def unfinished(self) -> bool:
        """It waits or is at work, as far as Slurm knows."""
        return self.state in _WAITS | _RUNS

    @property
    def ended(self) -> bool:
        """It has ended, and won't be started again by itself."""
        return not self.unfinished and self != UNKNOWN


GONE = SlurmJob("")
"""A job that ended some minutes ago, which squeue no longer lists."""
UNKNOWN = SlurmJob("UNKNOWN")
"""A job of which Slurm can't be asked, or can't know yet."""


QueueSnapshot: TypeAlias = tuple[float, Mapping[str, SlurmJob]]
"""A moment, in seconds since 1970, and this user's jobs, by number, as they were then."""


class _QueueCache:
    """This user's jobs as they were some seconds ago, those that ended in the last minutes included.

    An answer that is old is returned all the same, while a thread asks anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: QueueSnapshot | None = None
        self._refreshed_at = -FRESH_SECONDS

    def get(self, *, now: bool = False) -> QueueSnapshot | None:
        """The jobs; None where Slurm can't be asked. Only the first call waits for the answer, and those for `now`."""
        if now or self._refreshed_at < 0:
            self._refresh()
        elif time.monotonic() - self._refreshed_at > FRESH_SECONDS and not self._lock.locked():
            self._refreshed_at = time.monotonic()  # nobody else starts a thread before this one has the lock
            threading.Thread(target=self._refresh, name="squeue", daemon=True).start()
        return self._answer

    def _refresh(self) -> None:
        with self._lock:
            at = time.time()
            lines = _run_command(["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r|%Z"])
            self._answer = None if lines is None else (at, dict(map(_parse_job, lines)))
            self._refreshed_at = time.monotonic()


_queue_cache = _QueueCache()


def accounting_state(number: str) -> str:
    """How a job ended that squeue no longer lists, as OUT_OF_MEMORY; empty where no accounting is kept."""
    lines = _run_command(["sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={number}"])
    return lines[0].partition(" ")[0] if lines else ""


def cancel(number: str, *, waiting: bool = False) -> None:
    """Have Slurm end a job (with `waiting`, only if it has not begun): SIGTERM, and after its KillWait SIGKILL."""
    _run_command(["scancel", *["--state=PENDING"] * waiting, number])


def was_requeued() -> bool:
    """Whether Slurm has put the job that this process belongs to back into its queue, to start it again."""
    lines = _run_command(["scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", "")])
    match = re.search(r"\bRestarts=(\d+)", " ".join(lines or ()))
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


class ClusterJob(msgspec.Struct, frozen=True):
    """What was asked for with --on, the number that Slurm gave the job, and when, in seconds since 1970.

    The number may go into a command line, and the file may be anybody's: it is digits or there is no job.
    """

    on: Annotated[str, Meta(max_length=2000)]
    id: Annotated[str, Meta(pattern=r"\A[0-9]{1,12}\Z")]
    submitted: float


@dataclass(frozen=True)
class JobStatus:
    """A run's job and what Slurm says of it."""

    job: ClusterJob
    slurm_job: SlurmJob

    def state(self, summary: Summary, worker: heartbeat.Worker | None) -> RunState:
        """Where a run without an end event stands: as Slurm has it, else by its worker's last sign of life."""
        if not summary.kind:
            return RunState.broken
        if self.slurm_job == UNKNOWN:
            if worker is None or worker.alive < self.job.submitted:
                return RunState.queued
            return summary.phase if heartbeat.is_alive(worker) else RunState.crashed
        if self.slurm_job.waits:
            return RunState.queued
        return RunState.crashed if self.slurm_job.ended else summary.phase

    @property
    def hint(self) -> str:
        """What to do about a run of which the job is gone."""
        known = "" if self.slurm_job == UNKNOWN else self.slurm_job.state
        ended = known or accounting_state(self.job.id)
        lost = f"Its job ended without its last word{f' ({ended})' if ended else ''}: resume it."
        return ENDED_AS.get(ended, lost)


def read(folder: Path) -> ClusterJob | None:
    """job.json; None for a run that is no job, or where it can't be read."""
    return records.read(folder / JOB_FILE, ClusterJob)


def write(folder: Path, job: ClusterJob) -> None:
    """Replace job.json. Raises OSError."""
    atomic.write_atomic(folder / JOB_FILE, msgspec.json.encode(job))


def query(folder: Path, *, now: bool = False) -> JobStatus | None:
    """The run's job as Slurm had it some seconds ago, or has it `now`; None for a run that has none.

    A job that works in another folder is not this run's: the folder was copied, or comes from another cluster.
    """
    if (job := read(folder)) is None:
        return None
    at, jobs = _queue_cache.get(now=now) or (-math.inf, {})
    slurm_job = jobs.get(job.id, GONE if at >= job.submitted + CLOCKS_SECONDS else UNKNOWN)
    return None if slurm_job.folder and slurm_job.folder != str(folder.resolve()) else JobStatus(job, slurm_job)
