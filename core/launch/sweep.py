"""Sweeps: a group of runs with every combination of the swept options and several seeds. Loads no torch.

A sweep has no state of its own: each run stores the name of its group, and a combination's run is recognised by its
config. Repeating a sweep therefore resumes it, and a sweep with more values or seeds adds runs to the group.
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
"""Options that determine a whole table of the config."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: its config, and the existing run of the group with this config, if any."""

    config: AnyRun
    run: Run | None
    state: RunState | None

    @property
    def needs_start(self) -> bool:
        """True if the run must be started or resumed."""
        return self.state is not RunState.finished and not (self.state and self.state.live)

    @property
    def how(self) -> str:
        """A phrase for people: the sweep starts the run, resumes it or leaves it alone, and why."""
        if self.state is None:
            return "new"
        return f"{self.state}, resumes" if self.needs_start else f"{self.state} already"


def combinations(over: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[dict[str, str]]:
    """Return every combination as values by dotted key; seeds vary fastest. Raises UserError beyond `MOST_RUNS`."""
    axes = {**over, "seed": [str(seed) for seed in seeds]}
    count = math.prod(map(len, axes.values()))
    if count > MOST_RUNS:
        raise UserError(f"The sweep has {count:,} runs.", f"Sweep over fewer values; the limit is {MOST_RUNS:,} runs.")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def label(values: Mapping[str, str]) -> str:
    """Return a run's name from its values in the sweep, as in `weight=0.1 seed=2`."""
    return " ".join(f"{short(key, values)}={value}" for key, value in values.items())


def short(key: str, among: Iterable[str]) -> str:
    """Return the last word of a key, or the whole key if another key ends with the same word."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in among) > 1 else last


def group_name(config: RunConfig, swept: Sequence[str]) -> str:
    """Return a name that all combinations of a sweep share, and that no other sweep has.

    The name holds the kind and the swept options, followed by digits of a hash of all other options.
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
    """Match each config with an existing run of the group. Raises UserError if two configs are the same experiment."""
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
            raise UserError(problem, f"Leave {config.name!r} out of the sweep.")
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
    """Start or resume a planned run if it needs that, and return it; `prepare` is called before the start."""
    run = planned.run or runs.create(planned.config)
    if planned.needs_start:
        prepare(run)
        launch = local.start if planned.run is None else local.resume
        launch(run, now=now, on=on)
    return run
