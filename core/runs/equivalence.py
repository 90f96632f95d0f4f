"""Search for runs that belong together: runs of the same experiment, and runs of the same group. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from dipddpm.core.config import HybridPriorConfig, HybridRun, RunConfig, SharedRun
from dipddpm.core.runs.folder import Run, RunStatus
from dipddpm.core.runs.summary import RunState

R = TypeVar("R", bound=RunConfig)


def comparable_config(config: R) -> R:
    """Return the config with all options that don't affect results at their defaults.

    Two runs are the same experiment if these configs are equal.
    """
    if isinstance(config, HybridRun) and config.trains:
        config = msgspec.structs.replace(config, prior=HybridPriorConfig())
    if isinstance(config, SharedRun):  # the number of processes changes results only by rounding
        config = msgspec.structs.replace(config, processes=1)
    data = msgspec.structs.replace(config.data, directory="")
    return msgspec.structs.replace(
        config, name="", group="", device="auto", threads=0, checkpoint_seconds=60.0, checkpoint_epochs=0, data=data
    )


def equivalent_runs(runs: Iterable[Run], config: RunConfig) -> list[RunStatus]:
    """Return the status of each run that is the experiment of this config, in the order given."""
    wanted = comparable_config(config)
    same_kind = (status for status in (run.status() for run in runs) if status.summary.kind == wanted.kind)
    return [status for status in same_kind if status.config and comparable_config(status.config) == wanted]


def preferred_run(statuses: Iterable[RunStatus], may_resume: Callable[[Run], bool] = lambda run: True) -> Run | None:
    """Return the run to use, among runs of one experiment, newest first.

    The order of preference is a finished run, a live run, and an interrupted run for which `may_resume` is true. None
    if there is no such run.
    """
    best_first = sorted(statuses, key=lambda status: (status.state is not RunState.finished, not status.state.live))
    usable = (s.run for s in best_first if s.state is RunState.finished or s.state.live or may_resume(s.run))
    return next(usable, None)


def runs_in_group(runs: Iterable[Run], name: str) -> list[Run]:
    """Return the runs whose config names this group, in the order given; none for an empty name."""
    return [run for run in runs if name and run.status().summary.group == name]
