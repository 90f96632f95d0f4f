"""job.json: as which job of a cluster a run was submitted, and where the run stands by what Slurm says of that job.

A job that waits has no process yet, and one on another machine is known by its stamps alone: Slurm knows better.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from dipddpm.core.io import atomic
from dipddpm.core.launch.slurm import status
from dipddpm.core.runs import heartbeat
from dipddpm.core.runs.scheduler import JOB_FILE
from dipddpm.core.runs.summary import RunState, Summary

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


class ClusterJob(msgspec.Struct, frozen=True):
    """What was asked for with --on, the number that Slurm gave the job, and when, in seconds since 1970.

    The number may go into a command line, and the file may be anybody's: it is digits or there is no job.
    """

    on: Annotated[str, Meta(max_length=2000)]
    id: Annotated[str, Meta(pattern=r"\A[0-9]{1,12}\Z")]
    submitted: float


@dataclass(frozen=True)
class JobStatus:
    """A run's job and what Slurm says of it; None where it can't be asked, or can't know of the job yet."""

    job: ClusterJob
    slurm_job: status.SlurmJob | None

    @property
    def reason(self) -> str:
        """Why the job waits, in Slurm's words; empty where it says nothing."""
        return self.slurm_job.reason if self.slurm_job is not None else ""

    def state(self, summary: Summary, worker: heartbeat.Worker | None) -> RunState:
        """Where a run without an end event stands: as Slurm has it, else by its worker's last sign of life."""
        if not summary.kind:
            return RunState.broken
        if self.slurm_job is None:
            if worker is None or worker.alive < self.job.submitted:
                return RunState.queued
            return summary.phase if heartbeat.is_alive(worker) else RunState.crashed
        if self.slurm_job.waits:
            return RunState.queued
        return RunState.crashed if self.slurm_job.ended else summary.phase

    @property
    def hint(self) -> str:
        """What to do about a run of which the job is gone."""
        ended = (
            self.slurm_job.state
            if self.slurm_job is not None and self.slurm_job.state
            else status.accounting_state(self.job.id)
        )
        lost = f"Its job ended without its last word{f' ({ended})' if ended else ''}: resume it."
        return ENDED_AS.get(ended, lost)


def read(folder: Path) -> ClusterJob | None:
    """job.json; None for a run that is no job, or where it can't be read."""
    try:
        return msgspec.json.decode(atomic.read(folder / JOB_FILE), type=ClusterJob)
    except (OSError, ValueError, RecursionError):
        return None


def write(folder: Path, job: ClusterJob) -> None:
    """Replace job.json. Raises OSError."""
    atomic.write_atomic(folder / JOB_FILE, msgspec.json.encode(job))


def query(folder: Path, *, now: bool = False) -> JobStatus | None:
    """The run's job as Slurm had it some seconds ago, or has it `now`; None for a run that has none.

    A job that works in another folder is not this run's: the folder was copied, or comes from another cluster.
    """
    if (job := read(folder)) is None:
        return None
    queue = status.queue(now=now)
    if queue is None or (queue.at < job.submitted + CLOCKS_SECONDS and job.id not in queue.jobs):
        return JobStatus(job, None)
    slurm_job = queue.jobs.get(job.id, status.GONE)
    return None if slurm_job.folder and slurm_job.folder != str(folder.resolve()) else JobStatus(job, slurm_job)


def new_job(on: str, number: str) -> ClusterJob:
    """A job that Slurm has taken at this moment."""
    return ClusterJob(on, number, time.time())
