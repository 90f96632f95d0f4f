"""Which runs belong together: those of one experiment, and those of one group. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from core.config import HybridRun, PriorConfig, RunConfig, SharedRun
from core.runs.folder import Glance, Run
from core.runs.summary import State

R = TypeVar("R", bound=RunConfig)


def bare(config: R) -> R:
    """A config without what changes no result: two runs with equal ones are one experiment."""
    if isinstance(config, HybridRun) and config.trains:
        config = msgspec.structs.replace(config, prior=PriorConfig())
    if isinstance(config, SharedRun):  # what several processes do is the same but for rounding
        config = msgspec.structs.replace(config, processes=1)
    data = msgspec.structs.replace(config.data, directory="")
    return msgspec.structs.replace(
        config, name="", group="", device="auto", threads=0, checkpoint_seconds=60.0, checkpoint_epochs=0, data=data
    )


def alike(runs: Iterable[Run], config: RunConfig) -> list[Glance]:
    """Those of the runs that are the experiment of this config, in the order given."""
    wanted = bare(config)
    found = []
    for run in runs:
        glance = run.look()
        if glance.summary.kind == wanted.kind and glance.config is not None and bare(glance.config) == wanted:
            found.append(glance)
    return found


def best(glances: Iterable[Glance], may_go_on: Callable[[Run], bool] = lambda run: True) -> Run | None:
    """Of runs that are one experiment, newest first, the one to use: a finished one, else one under way.

    Else one that was cut short, of those that whoever asks `may_go_on` with; None where there is none.
    """
    found = [
        glance for glance in glances if glance.state is State.finished or glance.state.live or may_go_on(glance.run)
    ]
    # The newest of the best rank, for min takes the first.
    chosen = min(found, key=lambda glance: (glance.state is not State.finished, not glance.state.live), default=None)
    return chosen.run if chosen else None


def of_group(runs: Iterable[Run], name: str) -> list[Run]:
    """Those of the runs whose config names this group, in the order given."""
    return [run for run in runs if run.look().summary.group == name]
