"""A sweep: what is varied, every combination with several seeds, as a group of runs. Loads no torch.

Nothing of the sweep itself is kept: each run names its group, and a combination's run is found by what it was asked
for. So the same sweep again goes on, and one with more values or seeds adds to it.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dipddpm.core.config import AnyRun, RunConfig
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState, RunStatus
from dipddpm.core.runs.equivalence import comparable_config, preferred_run

MOST_RUNS = 1000
TABLES = {"task": "task", "hybrid.method": "hybrid"}
"""Options that choose what a whole table of the config holds."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: its config, and the run that the group has of it already, if any."""

    config: AnyRun
    run: Run | None
    state: RunState | None

    @property
    def needs_start(self) -> bool:
        """Whether there is anything to start or to resume."""
        return self.state is not RunState.finished and not (self.state and self.state.live)

    @property
    def how(self) -> str:
        """What will be done about it, for people."""
        if self.state is None:
            return "new"
        return f"{self.state}, goes on" if self.needs_start else f"{self.state} already"


def combinations(over: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[dict[str, str]]:
    """Every combination by dotted key, as text; seeds vary fastest. Raises UserError for more than `MOST_RUNS`."""
    axes = {**over, "seed": [str(seed) for seed in seeds]}
    count = math.prod(map(len, axes.values()))
    if count > MOST_RUNS:
        raise UserError(f"That makes {count:,} runs.", f"Sweep over fewer values: {MOST_RUNS:,} runs are the most.")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def label(values: Mapping[str, str]) -> str:
    """What a run is called for what sets it apart: `weight=0.1 seed=2`."""
    return " ".join(f"{short(key, values)}={value}" for key, value in values.items())


def short(key: str, among: Iterable[str]) -> str:
    """The last word of a key, unless another one ends with it too."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in among) > 1 else last


def group_name(config: RunConfig, swept: Sequence[str]) -> str:
    """A name that is the same for all combinations, whatever their values, and for no other sweep.

    It tells the kind and what is varied; the digits are those of all that isn't.
    """
    values: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(comparable_config(config), seed=0))
    for key in swept:
        *path, last = TABLES.get(key, key).split(".")
        table = values
        for name in path:
            table = table.get(name, {})
        table.pop(last, None)
    digits = hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()[:4]
    words = [short(key, swept) for key in swept] or ["seeds"]
    return "-".join([config.kind, *words])[:70] + f"-{digits}"


def plan(known: Iterable[Run], configs: Sequence[AnyRun]) -> list[PlannedRun]:
    """What there is of each already, among the runs of the group. Raises UserError where two are one experiment."""
    by_experiment: dict[RunConfig, list[RunStatus]] = {}
    for run in known:
        status = run.status()
        if status.config is not None:
            by_experiment.setdefault(comparable_config(status.config), []).append(status)
    planned: dict[RunConfig, PlannedRun] = {}
    for config in configs:
        key = comparable_config(config)
        if key in planned:
            problem = f"{planned[key].config.name!r} and {config.name!r} are the same experiment."
            raise UserError(problem, "Leave one of them out.")
        existing = preferred_run(by_experiment.get(key, ()))
        planned[key] = PlannedRun(config, existing, existing.status().state if existing else None)
    return list(planned.values())


def start_or_resume(
    runs: RunsFolder,
    planned: PlannedRun,
    *,
    now: bool = False,
    on: str = "",
    prepare: Callable[[Run], object] = lambda _: None,
) -> Run:
    """Start, resume or leave the run, as `local.start` does; the run. `prepare` gets one that is to be started."""
    run = planned.run or runs.create(planned.config)
    if planned.needs_start:
        prepare(run)
        launch = local.start if planned.run is None else local.resume
        launch(run, now=now, on=on)
    return run
