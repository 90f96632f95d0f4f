"""The head-to-head as a run: what the worker carries out, cell by cell, and a notebook can iterate over."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config import RestoreRun, format_task
from dipddpm.core.data import ImageSet, procedural
from dipddpm.core.data.sources import data_loaded
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import (
    Document,
    Item,
    Message,
    Pictures,
    PriorLoaded,
    RestorationMissing,
    RestorationScored,
    RunStarted,
    StateDict,
    Step,
)
from dipddpm.core.experiments.priors import load_prior, refuse_other_prior
from dipddpm.core.experiments.restore.cell import SHOWN, CellRunner, RestoreJob, RestoreJobResult, degrade_job
from dipddpm.core.experiments.restore.methods import Methods
from dipddpm.core.methods.budget import clock_of
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.report import restore

SYNC_SECONDS = 1.0
"""After so long, processes that share the work tell each other what they have."""
CONDITIONING_NAMES = {"dip": "DIP's result", "pinv": "A+ y"}


class RestoreExperiment:
    """Every method on the same degraded images, in cells of a task and a set, each degraded with several seeds.

    The hybrids come first, since their seconds are what the parents are given; then these and the other controls.
    Yields a `RestorationScored` for each, a picture for each cell, and at the end the verdicts and the whole board.
    A method that fails is a `RestorationMissing`, and ends nothing but its own part. No method sees the truth. Steps
    count the units.

    Several processes share the degradations: each takes the next one, restores it by every method on its own device,
    and takes another. Every now and then they tell each other what they have, and all yield it in the order in which
    one process would. So the scores are those of one process, and seconds are compared within a process only: those of
    its own work, not of its waiting. They are as honest as the processes are undisturbed by each other: GPUs should be
    alike, and on a CPU each process should have a core, where its seconds are of processor time. A checkpoint tells of
    degradations, not of processes: any number of these can go on with it.
    """

    network = None
    epoch = 0

    def __init__(
        self,
        config: RestoreRun,
        images: Mapping[str, ImageSet],
        prior: tuple[TrainedModel, PriorLoaded],
        device: torch.device | str,
        conditioned: Sequence[ConditionedModel] = (),
    ) -> None:
        """`images` are the sets by name; `conditioned` are networks that are trained for a task each."""
        self.config = config
        self.sets = images
        model, self.loaded = prior
        self.device = torch.device(device)
        self.conditioned = conditioned
        self.process_group = ProcessGroup.current()
        clock = clock_of(self.device)
        self.methods = Methods(config.restore, model, config.dip, conditioned, clock)
        self.jobs = [
            RestoreJob(task, name, config.seed + i, method)
            for task in config.restore.tasks
            for name in config.restore.sets
            for i in range(config.restore.seeds)
            for method in self.methods.for_task(task)
        ]
        self._group_starts = [index for index in range(len(self.jobs)) if self._starts_new("seed", index)]
        """Where the units of each degradation begin."""
        self.step = 0
        """Units done, as far as all before them are."""
        self._unassigned = list(self._group_starts)
        """Degradations that no process has taken yet."""
        self._resumed_states: dict[int, StateDict] = {}
        """Those of them that were begun before a resume."""
        self._idle_ranks = [True] * self.process_group.world_size
        """Which ranks have none."""
        self._runner: CellRunner | None = None
        self._items: Iterator[RestoreJobResult | Step] = iter(())
        """Of the piece at work here."""
        self._finished_jobs: dict[int, RestoreJobResult] = {}
        """What came of units that are done before those before them."""
        self._scored: list[RestorationScored] = []
        self._missing: list[RestorationMissing] = []
        self._results: dict[str, Tensor] = {}
        """The first restorations of the cell at work, by method, for its picture."""

    @classmethod
    def from_config(cls, config: RestoreRun, device: torch.device | str) -> Self:
        """Raises UserError for data or a network that is missing, and for a network of other images."""
        prior = load_prior(config.prior.run, device)
        conditioned = [ConditionedModel.of_run(Path(run), device) for run in config.restore.conditioned]
        for name, model in (("prior", prior[0]), *((network.run, network.model) for network in conditioned)):
            if model.shape != (1, procedural.SIDE, procedural.SIDE):
                size = "x".join(map(str, model.shape))
                raise UserError(f"The {name} knows {size} images, not 1x28x28.", "Give one of 28x28 grey images.")
        images = {
            str(name): procedural.load(name, config.restore.images, root=config.data.root)
            for name in config.restore.sets
        }
        return cls(config, images, prior, device, conditioned)

    def started(self) -> RunStarted:
        """Totals: a step for each method on each degradation."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=len(self.jobs),
            images=self.config.restore.images,
        )

    def __iter__(self) -> Iterator[Item]:
        if not (self.step or self._runner or self._resumed_states):
            yield self.loaded
            for network in self.conditioned:
                task, seen = format_task(network.task), CONDITIONING_NAMES[network.options.beside]
                yield Message(text=f"The network for {task}, which sees {seen}: {network.run}")
            yield from map(data_loaded, self.sets.values())
        while self.step < len(self.jobs):
            while self.step not in self._finished_jobs:
                self._run_for_a_while()
                if self.step not in self._finished_jobs:
                    yield Step(step=self.step)
            self._apply_result(self._finished_jobs.pop(self.step))
            yield from self._last_job_items()
            if self.step == len(self.jobs):
                yield from self._closing_items()
            yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`. Of several processes, the first one has it."""
        mine = {self._runner.first_index: self._runner.state_dict()} if self._runner else {}
        begun = {
            first: state for part in self.process_group.gather(mine, to_all=False) for first, state in part.items()
        }
        return {
            "prior": self.loaded.sha256,
            "conditioned": [model.sha256 for model in self.conditioned],
            "step": self.step,
            "begun": {**self._resumed_states, **begun},
            "waiting": sorted([*self._unassigned, *begun]),
            "found": [outcome.to_state() for outcome in self._finished_jobs.values()],
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "missing": [msgspec.to_builtins(missing) for missing in self._missing],
            "results": self._results,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called. Raises UserError where a network is another one than then."""
        refuse_other_prior(state["prior"], self.loaded)
        for expected_sha256, model in zip(state["conditioned"], self.conditioned, strict=True):
            refuse_other_prior(expected_sha256, PriorLoaded(run=model.run, sha256=model.sha256, parameters=0))
        self.step = state["step"]
        self._resumed_states, self._unassigned = dict(state["begun"]), list(state["waiting"])
        self._finished_jobs = {result.place: result for result in map(RestoreJobResult.from_state, state["found"])}
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]
        self._missing = [msgspec.convert(missing, RestorationMissing) for missing in state["missing"]]
        self._results = dict(state["results"])
        self._idle_ranks = [True] * self.process_group.world_size

    # The work

    def _run_for_a_while(self) -> None:
        """Take the work on here, to the next item or, where others do some too, for a while; and hear from them."""
        self._assign()
        until = time.monotonic() + (SYNC_SECONDS if self.process_group.world_size > 1 else 0)
        fresh = []
        while self._runner is not None:
            item = next(self._items)
            if isinstance(item, RestoreJobResult):
                fresh.append(item.to_state())
                if self._runner.finished:
                    self._runner = None
            if time.monotonic() >= until:
                break
        parts = self.process_group.gather({"idle": self._runner is None, "fresh": fresh}, to_all=True)
        self._idle_ranks = [part["idle"] for part in parts]
        for result in (RestoreJobResult.from_state(state) for part in parts for state in part["fresh"]):
            self._finished_jobs[result.place] = result

    def _assign(self) -> None:
        """Give the next degradations to the ranks that have none. All ranks do the same."""
        for rank, idle in enumerate(self._idle_ranks):
            if idle and self._unassigned:
                first = self._unassigned.pop(0)
                begun = self._resumed_states.pop(first, None)
                if rank != self.process_group.rank:
                    continue
                end = next((index for index in self._group_starts if index > first), len(self.jobs))
                jobs = self.jobs[first:end]
                self._runner = CellRunner(jobs, first, self.methods, self.sets[jobs[0].set], self.device)
                if begun is not None:
                    self._runner.load_state_dict(begun)
                self._items = iter(self._runner)

    def _apply_result(self, result: RestoreJobResult) -> None:
        """Take in what came of a unit; the state stands at the next one."""
        job = self.jobs[self.step]
        self._scored += result.scored
        if result.missing is not None:
            self._missing.append(result.missing)
            self._results.pop(job.method, None)
        elif job.seed == self.config.seed:
            self._results[job.method] = result.shown.to(self.device)
        self.step += 1

    def _starts_new(self, what: Literal["cell", "seed"], index: int) -> bool:
        """Whether the unit at a place is of another cell, or another degradation, than the one before."""
        if index in {0, len(self.jobs)}:
            return True
        last, coming = self.jobs[index - 1], self.jobs[index]
        same_cell = (last.task, last.set) == (coming.task, coming.set)
        return not same_cell or (what == "seed" and last.seed != coming.seed)

    # The items

    def _absent(self, job: RestoreJob) -> list[RestorationMissing]:
        """What has no part in the cell of a unit."""
        missing = self.methods.missing_reasons(job.task)
        return [job.missing_event(method, why, self.step) for method, why in missing.items()]

    def _last_job_items(self) -> list[Item]:
        """What came of the unit that was done last and, where its cell is complete, the picture and the sum of it."""
        job = self.jobs[self.step - 1]
        absent = self._absent(job) if self._starts_new("cell", self.step - 1) else []
        events: list[RestorationScored | RestorationMissing] = [*self._scored, *self._missing]
        items: list[Item] = [*absent, *(event for event in events if event.step == self.step)]
        if not self._starts_new("cell", self.step):
            return items
        compared = self._board().headline(self.step)
        return [*items, self._picture(job), *([compared] if compared else [])]

    def _picture(self, job: RestoreJob) -> Pictures:
        """A row for each image: degraded, restored by each method, and the truth."""
        case, truth = degrade_job(replace(job, seed=self.config.seed), self.sets[job.set], self.device)
        shown = [name for name in self.methods.for_task(job.task) if name in self._results]
        before = case.degradation.operator.pinv(case.y)
        columns = [before[:SHOWN], *(self._results[name] for name in shown), truth[:SHOWN]]
        return Pictures(
            name=f"cell-{self.step:04d}",
            images=torch.stack(columns, 1).flatten(0, 1).clamp(0, 1),
            step=self.step,
            title=f"{job.task} on {job.set}",
            columns=len(columns),
            panels=("degraded", *shown, "truth"),
        )

    def _board(self) -> Scoreboard:
        cells = {(job.task, job.set): job for job in self.jobs[: self.step]}
        absent = [event for job in cells.values() for event in self._absent(job)]
        return Scoreboard([*self._scored, *self._missing, *absent])

    def _closing_items(self) -> list[Item]:
        if not self._scored:
            raise UserError("Every method failed.", f"The first one: {self._missing[0].why}")
        board = self._board()
        return [
            *(Message(text=text) for text in board.verdicts()),
            Document(name="scores.json", text=restore.as_json(board)),
            Document(name="scores.txt", text=restore.as_text(board)),
            *restore.pictures(board, self.step),
        ]
