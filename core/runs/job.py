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

from core import files, slurm
from core.runs import life
from core.runs.summary import State, Summary

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


class Job(msgspec.Struct, frozen=True):
    """What was asked for with --on, the number that Slurm gave the job, and when, in seconds since 1970.

    The number may go into a command line, and the file may be anybody's: it is digits or there is no job.
    """

    on: Annotated[str, Meta(max_length=2000)]
    id: Annotated[str, Meta(pattern=r"\A[0-9]{1,12}\Z")]
    submitted: float


@dataclass(frozen=True)
class Seen:
    """A run's job and what Slurm says of it; None where it can't be asked, or can't know of the job yet."""

    job: Job
    told: slurm.Told | None

    @property
    def hint(self) -> str:
        """What to do about a run of which the job is gone."""
        ended = self.told.state if self.told is not None and self.told.state else slurm.remembered(self.job.id)
        lost = f"Its job ended without its last word{f' ({ended})' if ended else ''}: resume it."
        return ENDED_AS.get(ended, lost)


def read(folder: Path) -> Job | None:
    """job.json; None for a run that is no job, or where it can't be read."""
    try:
        return msgspec.json.decode(files.read(folder / JOB_FILE), type=Job)
    except (OSError, ValueError, RecursionError):
        return None


def write(folder: Path, job: Job) -> None:
    """Replace job.json. Raises OSError."""
    files.replace(folder / JOB_FILE, msgspec.json.encode(job))


def look(folder: Path, *, now: bool = False) -> Seen | None:
    """The run's job as Slurm had it some seconds ago, or has it `now`; None for a run that has none.

    A job that works in another folder is not this run's: the folder was copied, or comes from another cluster.
    """
    if (job := read(folder)) is None:
        return None
    queue = slurm.queue(now=now)
    if queue is None or (queue.at < job.submitted + CLOCKS_SECONDS and job.id not in queue.jobs):
        return Seen(job, None)
    told = queue.jobs.get(job.id, slurm.GONE)
    return None if told.folder and told.folder != str(folder.resolve()) else Seen(job, told)


def state(summary: Summary, worker: life.Worker | None, seen: Seen) -> State:
    """Where a run stands whose log tells no end: as Slurm has it, else by its worker's last sign of life."""
    if not summary.kind:
        return State.broken
    if seen.told is None:
        if worker is None or worker.alive < seen.job.submitted:
            return State.queued
        return summary.phase if life.is_alive(worker) else State.crashed
    if seen.told.waits:
        return State.queued
    return State.crashed if seen.told.over else summary.phase


def submitted(on: str, number: str) -> Job:
    """A job that Slurm has taken at this moment."""
    return Job(on, number, time.time())
