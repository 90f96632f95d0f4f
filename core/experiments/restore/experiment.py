"""The head-to-head as an experiment that the worker or a notebook iterates, cell by cell."""

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
from dipddpm.core.config import RestoreRun, format_task, parse_task
from dipddpm.core.data import ImageSet, procedural
from dipddpm.core.data.identity import task_files_loaded
from dipddpm.core.data.sources import data_loaded, opening_events
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.panels import in_image_size
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import (
    Document,
    Input,
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
from dipddpm.core.experiments.priors import load_priors, prior_warnings
from dipddpm.core.experiments.restore.cell import SHOWN, CellRunner, RestoreJob, RestoreJobResult, degrade_job
from dipddpm.core.experiments.restore.methods import Methods
from dipddpm.core.images import clip_visibly
from dipddpm.core.methods.budget import Clock, clock_of
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.report import restore
from dipddpm.core.runs.slices import earlier_results
from dipddpm.core.runs.trained import model_options

SYNC_SECONDS = 1.0
"""Interval in seconds at which processes that share the work exchange their results."""
CONDITIONING_NAMES = {"dip": "DIP's result", "pinv": "A+ y"}
"""Descriptions of the conditioning images, by `hybrid.beside`."""


class RestoreExperiment:
    """A run of every method on the same degraded images, in cells of a task and a set, with several seeds a cell.

    The hybrids come first, because the baselines get as many seconds as the hybrids took; then come the baselines and
    the other controls. Yields a `RestorationScored` for each, a picture for each cell, and at the end the verdicts and
    the whole board. For a method that fails it yields a `RestorationMissing`, and the other methods continue. No method
    has access to the truth. Steps count the jobs: a job is one method on one degradation.

    Several processes share the degradations: each takes the next one, restores it by every method on its own device,
    then takes another. They exchange results every `SYNC_SECONDS`, and all yield the results in the order in which a
    single process would. So the scores don't depend on the number of processes, and seconds are only compared within a
    process; they count its own work, not its waiting. For fair times, the processes must not disturb each other: the
    GPUs should be of one model; on CPUs, each process should have its own core, where it measures processor time. A
    checkpoint stores degradations, not processes, so any number of processes can resume from it.
    """

    network = None
    epoch = 0

    def __init__(
        self,
        config: RestoreRun,
        images: Mapping[str, ImageSet],
        prior: tuple[TrainedModel, Sequence[PriorLoaded]],
        device: torch.device | str,
        conditioned: Sequence[ConditionedModel] = (),
    ) -> None:
        """Set up the jobs; `images` are the sets by name, `conditioned` networks that are trained for one task each."""
        self.config = config
        self.sets = images
        model, loaded = prior
        self._models = [*loaded, *map(_network_loaded, conditioned)]
        self._masks = task_files_loaded(*map(parse_task, config.restore.tasks))
        self.device = torch.device(device)
        self.conditioned = conditioned
        self.process_group = ProcessGroup.current()
        clock = clock_of(self.device)
        self.methods = self._make_methods(model, clock)
        self.jobs = [
            RestoreJob(task, name, config.seed + i, method, config.restore.first)
            for task in config.restore.tasks
            for name in config.restore.sets
            for i in range(config.restore.seeds)
            for method in self.methods.for_task(task)
        ]
        self._group_starts = [index for index in range(len(self.jobs)) if self._starts_new("seed", index)]
        """Index of the first job of each degradation."""
        self.step = 0
        """Number of jobs whose results have been yielded, in order."""
        self._unassigned = list(self._group_starts)
        """First jobs of the degradations that no process has taken yet."""
        self._resumed_states: dict[int, StateDict] = {}
        """States of the unassigned degradations that were begun before a resume, by their first job."""
        self._idle_ranks = [True] * self.process_group.world_size
        """For each rank, True if it has no degradation to work on."""
        self._runner: CellRunner | None = None
        """The runner of this process's current degradation."""
        self._items: Iterator[RestoreJobResult | Step] = iter(())
        """The items of that runner."""
        self._finished_jobs: dict[int, RestoreJobResult] = {}
        """Results that can't be yielded before those of earlier jobs, by the job's index."""
        self._scored: list[RestorationScored] = []
        self._missing: list[RestorationMissing] = []
        self._results: dict[str, Tensor] = {}
        """The first restorations of the current cell, by method, for its picture."""

    @classmethod
    def from_config(cls, config: RestoreRun, device: torch.device | str) -> Self:
        """Build the experiment.

        Raises UserError for data or a network that is missing, and for a network that is trained on other images.
        """
        prior = load_priors(config.prior, device)
        conditioned = [ConditionedModel.of_run(Path(run), device) for run in config.restore.conditioned]
        for name, model in (("prior", prior[0]), *((network.run, network.model) for network in conditioned)):
            if model.shape != (1, procedural.SIDE, procedural.SIDE):
                size = "x".join(map(str, model.shape))
                problem = f"The {name} is trained on {size} images (channels x height x width), not on 1x28x28."
                raise UserError(problem, "Name a run that was trained on grey images of 28x28 pixels.")
        images = {
            str(name): procedural.load(name, config.restore.images, first=config.restore.first, root=config.data.root)
            for name in config.restore.sets
        }
        return cls(config, images, prior, device, conditioned)

    def _make_methods(self, prior: TrainedModel, clock: Clock) -> Methods:
        """Return the methods that take part."""
        return Methods(self.config.restore, prior, self.config.dip, self.conditioned, clock)

    def _opening_warnings(self) -> Iterator[Item]:
        """Yield warnings of what the prior can't see."""
        yield from prior_warnings(self.methods.models.prior)

    def _image_sets(self) -> list[ImageSet]:
        """Return all images that the run reads."""
        return list(self.sets.values())

    @property
    def inputs(self) -> Sequence[Input]:
        """The prior, the conditioned networks, the sets of images, and the mask files of the tasks."""
        return [*self._models, *map(data_loaded, self._image_sets()), *self._masks]

    def started(self) -> RunStarted:
        """Return totals; each job is a step."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=len(self.jobs),
            images=self.config.restore.images,
        )

    def __iter__(self) -> Iterator[Item]:
        if not (self.step or self._runner or self._resumed_states):
            yield from self._models
            yield from self._opening_warnings()
            yield from opening_events(self._image_sets())
            yield from self._masks
            yield from self._earlier_items()
        while self.step < len(self.jobs):
            while self.step not in self._finished_jobs:
                self._run_until_sync()
                if self.step not in self._finished_jobs:
                    yield Step(step=self.step)
            self._apply_result(self._finished_jobs.pop(self.step))
            yield from self._last_job_items()
            if self.step == len(self.jobs):
                yield from self._closing_items()
            yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`. Only rank 0 has the states of all ranks."""
        mine = {self._runner.first_index: self._runner.state_dict()} if self._runner else {}
        begun = {
            first: state for part in self.process_group.gather(mine, to_all=False) for first, state in part.items()
        }
        return {
            "step": self.step,
            "begun": {**self._resumed_states, **begun},
            "waiting": sorted([*self._unassigned, *begun]),
            "found": [result.to_state() for result in self._finished_jobs.values()],
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "missing": [msgspec.to_builtins(missing) for missing in self._missing],
            "results": self._results,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step = state["step"]
        self._resumed_states, self._unassigned = dict(state["begun"]), list(state["waiting"])
        self._finished_jobs = {result.index: result for result in map(RestoreJobResult.from_state, state["found"])}
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]
        self._missing = [msgspec.convert(missing, RestorationMissing) for missing in state["missing"]]
        self._results = dict(state["results"])
        self._idle_ranks = [True] * self.process_group.world_size

    # Scheduling

    def _run_until_sync(self) -> None:
        """Advance this process's runner by one item, or with several processes for `SYNC_SECONDS`; exchange results."""
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
            self._finished_jobs[result.index] = result

    def _assign(self) -> None:
        """Assign the next degradations to the idle ranks; all ranks compute the same assignment."""
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
        """Record the result of the next job in order, and advance the step."""
        job = self.jobs[self.step]
        self._scored += result.scored
        if result.missing is not None:
            self._missing.append(result.missing)
            self._results.pop(job.method, None)
        elif job.seed == self.config.seed:
            self._results[job.method] = result.shown.to(self.device)
        self.step += 1

    def _starts_new(self, what: Literal["cell", "seed"], index: int) -> bool:
        """Return whether the job at an index belongs to another cell, or another degradation, than the job before."""
        if index in {0, len(self.jobs)}:
            return True
        last, current = self.jobs[index - 1], self.jobs[index]
        same_cell = (last.task, last.set) == (current.task, current.set)
        return not same_cell or (what == "seed" and last.seed != current.seed)

    # Images that are added to those of an earlier run

    def _earlier_items(self) -> list[Item]:
        """Take over the results that this run adds its images to, and return them to be logged.

        Raises UserError if they are those of other methods, so that rows of both runs couldn't be joined.
        """
        earlier = earlier_results(self.config)
        if not earlier:
            return []
        run = Path(self.config.restore.earlier).name
        for task in self.config.restore.tasks:
            before = {event.method for event in earlier if event.task == task}
            if other := before ^ set(self.methods.for_task(task)):
                problem = f"{run} compares other methods for {task} than this run would: {', '.join(sorted(other))}."
                remedy = f"Restore all images with these methods in a new run: dipddpm fork {run}"
                raise UserError(problem, remedy)
        self._scored += [event for event in earlier if isinstance(event, RestorationScored)]
        self._missing += [event for event in earlier if isinstance(event, RestorationMissing)]
        first, images = self.config.restore.first, self.config.restore.images
        text = f"Adds the images {first} to {first + images - 1} of each set to those of {run}."
        return [Message(text=text), *earlier]

    # Items of a finished job

    def _absent(self, job: RestoreJob) -> list[RestorationMissing]:
        """Return the events for methods that don't take part in the job's cell."""
        missing = self.methods.missing_reasons(job.task)
        return [job.missing_event(method, why, self.step) for method, why in missing.items()]

    def _last_job_items(self) -> list[Item]:
        """Return the last job's events and, if it completes its cell, the cell's picture and the headline so far."""
        job = self.jobs[self.step - 1]
        absent = self._absent(job) if self._starts_new("cell", self.step - 1) else []
        events: list[RestorationScored | RestorationMissing] = [*self._scored, *self._missing]
        items: list[Item] = [*absent, *(event for event in events if event.step == self.step)]
        if not self._starts_new("cell", self.step):
            return items
        compared = self._board().headline(self.step)
        return [*items, self._picture(job), *([compared] if compared else [])]

    def _picture(self, job: RestoreJob) -> Pictures:
        """Draw a row for each image: degraded, restored by each method, and the truth."""
        case, truth = degrade_job(replace(job, seed=self.config.seed), self.sets[job.set], self.device)
        shown = [name for name in self._shown(job.task) if name in self._results]
        before = in_image_size(case.y, case.degradation, truth.shape)
        columns = [before[:SHOWN], *(self._results[name] for name in shown), truth[:SHOWN]]
        return Pictures(
            name=f"cell-{self.step:04d}",
            images=clip_visibly(torch.stack(columns, 1).flatten(0, 1)),
            step=self.step,
            title=f"{job.task} on {job.set}",
            columns=len(columns),
            panels=("degraded", *shown, "truth"),
        )

    def _shown(self, task: str) -> list[str]:
        """Return the methods whose restorations a cell's picture shows."""
        return self.methods.for_task(task)

    def _board(self) -> Scoreboard:
        return Scoreboard(self._results_so_far())

    def _results_so_far(self) -> list[RestorationScored | RestorationMissing]:
        cells = {(job.task, job.set): job for job in self.jobs[: self.step]}
        absent = [event for job in cells.values() for event in self._absent(job)]
        return [*self._scored, *self._missing, *absent]

    def _closing_items(self) -> list[Item]:
        if not self._scored:
            raise UserError("Every method failed.", f"The first one failed with: {self._missing[0].why}")
        board = self._board()
        return [
            *(Message(text=text) for text in board.verdicts()),
            Document(name="scores.json", text=restore.as_json(board)),
            Document(name="scores.txt", text=restore.as_text(board)),
            *self._drawings(board),
        ]

    def _drawings(self, board: Scoreboard) -> list[Pictures]:
        return restore.pictures(board, self.step)


def _network_loaded(network: ConditionedModel) -> PriorLoaded:
    conditioning = CONDITIONING_NAMES[network.options.conditioning]
    role = f"The network for {format_task(network.task)}, conditioned on {conditioning}"
    parameters = sum(p.numel() for p in network.model.network.parameters())
    options = model_options(network.model.options)
    return PriorLoaded(run=network.run, sha256=network.sha256, parameters=parameters, role=role, options=options)
