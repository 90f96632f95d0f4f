"""The head-to-head as a run: what the worker carries out, cell by cell, and a notebook can iterate over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor

from core.config import HYBRIDS, Denoise, RestoreRun, parse_task
from core.data import ImageSet
from core.ddpm.trained import TrainedModel
from core.degrade import degrade
from core.errors import UserError
from core.events import (
    DataLoaded,
    Document,
    Item,
    Message,
    Pictures,
    PriorLoaded,
    RestorationScored,
    RunStarted,
    State,
    Step,
)
from core.hybrid.equal_time import parents
from core.hybrid.prior import load_prior, refuse_another
from core.hybrid.restorer import Case
from core.hybrid.timed import Budgeted, Spent, Timed, clock_of
from core.hybrid.told import Told
from core.images import to_unit
from core.metrics import psnr, ssim
from core.quality.classifier import load_classifier
from core.restore import report, sets
from core.restore.controls import controls, hybrid
from core.scores import DDPM_MEAN, DIP_MEAN, POSTERIOR_MEAN, Scoreboard
from core.seeds import derive

SHOWN = 8
"""Images of each set that pictures show."""
CLASSIFIED = {"fashionmnist", "fashion-mini"}
"""The sets whose classes our classifier knows."""


@dataclass(frozen=True)
class Unit:
    """One method on one degradation of one set: what a run does between two scores."""

    task: str
    set: str
    seed: int
    method: str


class RestoreExperiment:
    """Every method on the same degraded images, in cells of a task and a set, each degraded with several seeds.

    The hybrids come first, since their seconds are what the parents are given; then these and the other controls.
    Yields a `RestorationScored` for each, a picture for each cell, and at the end the verdicts and the whole board.
    No method sees the truth. Steps count the units.
    """

    network = None
    epoch = 0

    def __init__(
        self,
        config: RestoreRun,
        images: Mapping[str, ImageSet],
        prior: tuple[TrainedModel, PriorLoaded],
        device: torch.device | str,
    ) -> None:
        """`images` are the sets by name."""
        self.config = config
        self.sets = images
        self.prior, self.loaded = prior
        self.device = torch.device(device)
        self.clock = clock_of(self.device)
        self.controls = controls(self.prior, config.dip)
        self.units = [
            Unit(task, name, config.seed + i, method)
            for task in config.restore.tasks
            for name in config.restore.sets
            for i in range(config.restore.seeds)
            for method in self._methods(task)
        ]
        self.step = 0
        """Units done."""
        self._told = Told()
        self._work: Timed | Budgeted | None = None
        self._scored: list[RestorationScored] = []
        self._seconds: dict[str, float] = {}
        """What the hybrids took of the degradation at work."""
        self._results: dict[str, Tensor] = {}
        """The first restorations of the cell at work, by method, for its picture."""

    @classmethod
    def from_config(cls, config: RestoreRun, device: torch.device | str) -> Self:
        """Raises UserError for data or a prior that is missing, and for a prior of other images."""
        prior = load_prior(config.prior.run, device)
        if prior[0].shape != (1, sets.SIDE, sets.SIDE):
            told = "x".join(map(str, prior[0].shape))
            raise UserError(f"The prior knows {told} images, not 1x28x28.", "Give a prior of 28x28 grey images.")
        root = Path(config.data.directory).expanduser() if config.data.directory else None
        images = {str(name): sets.load(name, config.restore.images, root=root) for name in config.restore.sets}
        return cls(config, images, prior, device)

    def started(self) -> RunStarted:
        """Totals: a step for each method on each degradation."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=len(self.units),
            images=self.config.restore.images,
        )

    def __iter__(self) -> Iterator[Item]:
        yield from self._told.rest("opening", self._opening)
        while True:
            yield from self._told.rest("unit", self._of_last_unit)
            if self.step == len(self.units):
                break
            unit = self.units[self.step]
            work = self._work = self._work or self._begin(unit)
            for item in work:
                if isinstance(item, Step):
                    yield Step(step=self.step)
            self._finish(unit, work)
        yield from self._told.rest("closing", self._closing)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items. What hangs on a clock goes on as far as it can."""
        return {
            "prior": self.loaded.sha256,
            "step": self.step,
            "told": self._told.counts,
            "work": self._work.state_dict() if self._work else None,
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "seconds": self._seconds,
            "results": self._results,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called. Raises UserError where the prior is another one than then."""
        refuse_another(state["prior"], self.loaded)
        self.step = state["step"]
        self._told.counts = dict(state["told"])
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]
        self._seconds, self._results = dict(state["seconds"]), dict(state["results"])
        if state["work"]:
            self._work = self._begin(self.units[self.step])
            self._work.load_state_dict(state["work"])

    # A unit

    def _methods(self, text: str) -> list[str]:
        """What restores a task, in the order in which it does; what can't take it is left out."""
        task = parse_task(text)
        able = [name for name in self.config.restore.compared if HYBRIDS[name].takes(task)]
        one_step = isinstance(task, Denoise) and task.noise != "salt-and-pepper"
        return [*able, DIP_MEAN, DDPM_MEAN, *[POSTERIOR_MEAN] * one_step, *self.controls]

    def _case(self, unit: Unit) -> tuple[Case, Tensor]:
        """What the method is given, and the truth."""
        truth = to_unit(self.sets[unit.set].images).to(self.device)
        seeds = [derive(unit.seed, f"measurement of {unit.set} {place}") for place in range(len(truth))]
        y, degradation = degrade(parse_task(unit.task), truth, seeds)
        n, c, h, w = truth.shape
        return Case(y, degradation, (n, c, h, w), seed=derive(unit.seed, "restoration")), truth

    def _begin(self, unit: Unit) -> Timed | Budgeted:
        case, _ = self._case(unit)
        if unit.method in {DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN}:
            budgets = list(self._seconds.values()) or [0.0]
            return parents(case, self.prior, self.config.dip, budgets=budgets, clock=self.clock)[unit.method]
        if unit.method in HYBRIDS:
            make = hybrid(unit.method, self.prior, self.config.dip)
        else:
            make = self.controls[unit.method]
        return Timed(lambda: make(case), self.clock)

    def _finish(self, unit: Unit, work: Timed | Budgeted) -> None:
        """Score what has been restored; the state then stands at the next unit."""
        if isinstance(work, Timed):
            images, done = work.result(), work.restorer
            found = {"": Spent(images, 1, done.nfe, done.iterations, work.seconds)}
            if unit.method in HYBRIDS:
                self._seconds[unit.method] = work.seconds
        elif unit.method == POSTERIOR_MEAN or not self._seconds:
            found = {"": work.met[0]}
        else:
            found = {name: work.of(seconds) for name, seconds in self._seconds.items()}
        self.step += 1
        _, truth = self._case(unit)
        self._scored += [self._score(unit, spent, name, truth) for name, spent in found.items()]
        if unit.seed == self.config.seed:
            self._results[unit.method] = next(iter(found.values())).images[:SHOWN]
        if self._at_new("seed"):
            self._seconds = {}
        self._work = None
        self._told.again("unit")

    def _score(self, unit: Unit, spent: Spent, budget_of: str, truth: Tensor) -> RestorationScored:
        right: list[bool] = []
        if unit.set in CLASSIFIED:
            right = (load_classifier().predict(spent.images) == self.sets[unit.set].labels.cpu()).tolist()
        return RestorationScored(
            task=unit.task,
            set=unit.set,
            seed=unit.seed,
            method=unit.method,
            budget_of=budget_of,
            psnr=psnr(spent.images, truth).tolist(),
            ssim=ssim(spent.images, truth).tolist(),
            nfe=spent.nfe,
            iterations=spent.iterations,
            seconds=spent.seconds,
            runs=spent.runs,
            recognised=right,
            step=self.step,
        )

    def _at_new(self, what: Literal["cell", "seed"]) -> bool:
        """Whether the next unit is of another cell, or another degradation, than the last one."""
        if self.step == len(self.units):
            return True
        last, coming = self.units[self.step - 1], self.units[self.step]
        same_cell = (last.task, last.set) == (coming.task, coming.set)
        return not same_cell or (what == "seed" and last.seed != coming.seed)

    # What is told

    def _opening(self) -> list[Item]:
        loaded = [
            DataLoaded(dataset=s.name, split=s.split, images=len(s), sha256=s.sha256, source=s.source)
            for s in self.sets.values()
        ]
        return [self.loaded, *loaded]

    def _of_last_unit(self) -> list[Item]:
        """The scores of the unit that was done last and, where its cell is complete, the picture of it."""
        if self.step == 0:
            return []
        items: list[Item] = [scored for scored in self._scored if scored.step == self.step]
        return [*items, self._picture(self.units[self.step - 1])] if self._at_new("cell") else items

    def _picture(self, unit: Unit) -> Pictures:
        """A row for each image: degraded, restored by each method, and the truth."""
        case, truth = self._case(replace(unit, seed=self.config.seed))
        shown = self._methods(unit.task)
        degraded = case.degradation.operator.pinv(case.y)
        columns = [degraded[:SHOWN], *(self._results[name] for name in shown), truth[:SHOWN]]
        return Pictures(
            name=f"cell-{self.step:04d}",
            images=torch.stack(columns, 1).flatten(0, 1).clamp(0, 1),
            step=self.step,
            title=f"{unit.task} on {unit.set}",
            columns=len(columns),
            panels=("degraded", *shown, "truth"),
        )

    def _closing(self) -> list[Item]:
        board = Scoreboard(self._scored)
        return [
            *(Message(text=text) for text in board.verdicts()),
            Document(name="scores.json", text=report.as_json(board)),
            Document(name="scores.txt", text=report.as_text(board)),
            *report.pictures(board, self.step),
        ]
