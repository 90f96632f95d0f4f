"""What a cluster's scheduler says of a run.

Only a run that has a job file was given to one; its module, which asks Slurm, is loaded by import path then. So reading
the folder of any other run starts no foreign program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from dipddpm.core import registry
from dipddpm.core.io import atomic
from dipddpm.core.runs import heartbeat
from dipddpm.core.runs.summary import RunState, Summary

JOB_FILE = "job.json"
QUERY = "dipddpm.core.launch.slurm.job:query"


class JobStatus(Protocol):
    """A run's job and what the scheduler says of it."""

    @property
    def hint(self) -> str:
        """What to do about a run of which the job is gone."""
        ...

    @property
    def reason(self) -> str:
        """Why the job waits, in the scheduler's words; empty where it says nothing."""
        ...

    def state(self, summary: Summary, worker: heartbeat.Worker | None) -> RunState:
        """The state of a run whose log has no end event."""
        ...


def query(folder: Path) -> JobStatus | None:
    """The run's job as the scheduler had it some seconds ago; None for a run that has none."""
    if not atomic.is_file(folder / JOB_FILE):
        return None
    return cast(JobStatus | None, registry.resolve(QUERY)(folder))
