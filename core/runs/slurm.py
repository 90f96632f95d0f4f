"""Runs as jobs of a Slurm cluster: job.json, which names the job, and the job's state from Slurm's own commands.

Slurm knows more about a job than worker.json, because a waiting job has no process yet and a job on another machine
leaves only timestamps. One query fetches all jobs, and its answer is reused for some seconds, because the console and
`ls` show many runs and all users share the cluster's controller. A run without job.json runs no Slurm command. Loads
no torch and no submitit.
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
"""The time after its submission during which squeue may not list a job yet."""
ENDED_AS = {
    "OUT_OF_MEMORY": "Slurm ended its job, which exceeded its memory limit: resume it with more memory, such as --on "
    "slurm:mem=64G.",
    "TIMEOUT": "Its job reached its time limit: resume it, with more time if that happens again.",
    "DEADLINE": "Its job reached its deadline: resume it.",
    "CANCELLED": "Its job was cancelled: resume it.",
    "PREEMPTED": "Its job was preempted by another one: resume it.",
    "NODE_FAIL": "The node of its job failed: resume it.",
    "BOOT_FAIL": "The node of its job did not start: resume it.",
}
"""The hint for each final state of a job."""
FRESH_SECONDS = 5.0
"""The age up to which an answer of squeue is reused without a new query."""
PATIENCE_SECONDS = 15.0
"""The time that a busy controller gets to answer."""
_WAITS = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_RUNS = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"}
"""The states of jobs at work. A COMPLETING job has ended or has just been requeued; its processes may still run."""


@dataclass(frozen=True)
class SlurmJob:
    """A job as squeue lists it. `reason` says why it waits; `folder` is its working directory."""

    state: str
    reason: str = ""
    folder: str = ""

    @property
    def waits(self) -> bool:
        """True if the job has no node yet or waits to be restarted."""
        return self.state in _WAITS

    @property
    def unfinished(self) -> bool:
        """True if the job waits or runs, as far as Slurm knows."""
        return self.state in _WAITS | _RUNS

    @property
    def ended(self) -> bool:
        """True if the job has ended and Slurm won't restart it."""
        return not self.unfinished and self != UNKNOWN


GONE = SlurmJob("")
"""A job that ended some minutes ago, which squeue no longer lists."""
UNKNOWN = SlurmJob("UNKNOWN")
"""A job whose state is unknown: Slurm doesn't answer, or doesn't list the job yet."""

QueueSnapshot: TypeAlias = tuple[float, Mapping[str, SlurmJob]]
"""The time of a query, in seconds since 1970, and this user's jobs at that time, by number."""


class _QueueCache:
    """A stale-while-revalidate cache of squeue: this user's jobs, including jobs that ended in the last minutes.

    An old answer is returned while a thread runs the next query.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: QueueSnapshot | None = None
        self._refreshed_at = -FRESH_SECONDS

    def get(self, *, now: bool = False) -> QueueSnapshot | None:
        """Return the jobs; None if Slurm doesn't answer. Only the first call and calls with `now` wait for a query."""
        if now or self._refreshed_at < 0:
            self._refresh()
        elif time.monotonic() - self._refreshed_at > FRESH_SECONDS and not self._lock.locked():
            self._refreshed_at = time.monotonic()  # no other call starts a thread before this one has the lock
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
    """Return the final state, such as OUT_OF_MEMORY, of a job that squeue no longer lists; empty without accounting."""
    lines = _run_command(["sacct", "--allocations", "--noheader", "--parsable2", "--format=State", f"--jobs={number}"])
    return lines[0].partition(" ")[0] if lines else ""


def cancel(number: str, *, waiting: bool = False) -> None:
    """Make Slurm end a job (with `waiting`, only one that hasn't started): SIGTERM, then SIGKILL after KillWait."""
    _run_command(["scancel", *["--state=PENDING"] * waiting, number])


def was_requeued() -> bool:
    """Return whether Slurm has requeued the job of this process, to restart it."""
    lines = _run_command(["scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", "")])
    match = re.search(r"\bRestarts=(\d+)", " ".join(lines or ()))
    return match is not None and int(match[1]) > int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _parse_job(line: str) -> tuple[str, SlurmJob]:
    number, state, reason, folder = (line.split("|", 3) + [""] * 3)[:4]
    return number, SlurmJob(state, "" if reason == "None" else reason, folder)


def _run_command(command: Sequence[str]) -> list[str] | None:
    """Run a command and return the lines it prints; None if it isn't installed, fails or takes too long."""
    if shutil.which(command[0]) is None:
        return None
    try:
        # A new process group, so that signals to the job's processes don't reach this command.
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
    """The content of job.json: the value of --on, the job's number, and its submission time in seconds since 1970.

    The number is passed to commands and the file is untrusted, so a number that isn't all digits makes it invalid.
    """

    on: Annotated[str, Meta(max_length=2000)]
    id: Annotated[str, Meta(pattern=r"\A[0-9]{1,12}\Z")]
    submitted: float


@dataclass(frozen=True)
class JobStatus:
    """A run's job and its state in Slurm."""

    job: ClusterJob
    slurm_job: SlurmJob

    def state(self, summary: Summary, worker: heartbeat.Worker | None) -> RunState:
        """Return the state of a run without an end event: by Slurm, or else by its worker's last sign of life."""
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
        """The remedy for a run whose job is gone."""
        known = "" if self.slurm_job == UNKNOWN else self.slurm_job.state
        ended = known or accounting_state(self.job.id)
        lost = f"Its job ended before the run could log its end{f' ({ended})' if ended else ''}: resume it."
        return ENDED_AS.get(ended, lost)


def read(folder: Path) -> ClusterJob | None:
    """Return the content of job.json; None if it is missing or can't be read."""
    return records.read(folder / JOB_FILE, ClusterJob)


def write(folder: Path, job: ClusterJob) -> None:
    """Replace job.json. Raises OSError."""
    atomic.write_atomic(folder / JOB_FILE, msgspec.json.encode(job))


def query(folder: Path, *, now: bool = False) -> JobStatus | None:
    """Return the run's job as of some seconds ago, or with `now` as of this moment; None for a run without a job.

    A job with another working directory isn't this run's: the folder was copied, or comes from another cluster.
    """
    if (job := read(folder)) is None:
        return None
    at, jobs = _queue_cache.get(now=now) or (-math.inf, {})
    slurm_job = jobs.get(job.id, GONE if at >= job.submitted + CLOCKS_SECONDS else UNKNOWN)
    return None if slurm_job.folder and slurm_job.folder != str(folder.resolve()) else JobStatus(job, slurm_job)
