"""The head-to-head as a run: what the worker carries out, cell by cell, and a notebook can iterate over."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import torch
from torch import Tensor

from core.config import HYBRIDS, RestoreRun, format_task, parse_task
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
    RestorationMissing,
    RestorationScored,
    RunStarted,
    State,
    Step,
)
from core.hybrid.conditioned_restorer import ConditionedModel
from core.hybrid.prior import load_prior, refuse_another
from core.hybrid.restorer import Case
from core.hybrid.timed import Budgeted, Spent, Timed, clock_of
from core.hybrid.told import Told
from core.images import to_unit
from core.restore import report, sets
from core.restore.entrants import Entrants
from core.restore.unit import Unit
from core.scores import POSTERIOR_MEAN, Scoreboard
from core.seeds import derive

SHOWN = 8
"""Images of each set that pictures show."""
SEES = {"dip": "DIP's result", "pinv": "A+ y"}


class RestoreExperiment:
    """Every method on the same degraded images, in cells of a task and a set, each degraded with several seeds.

    The hybrids come first, since their seconds are what the parents are given; then these and the other controls.
    Yields a `RestorationScored` for each, a picture for each cell, and at the end the verdicts and the whole board.
    A method that fails is a `RestorationMissing`, and ends nothing but its own part. No method sees the truth. Steps
    count the units.
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
        self.prior, self.loaded = prior
        self.device = torch.device(device)
        self.conditioned = conditioned
        clock = clock_of(self.device)
        self.entrants = Entrants(config.restore, self.prior, config.dip, conditioned, clock)
        self.units = [
            Unit(task, name, config.seed + i, method)
            for task in config.restore.tasks
            for name in config.restore.sets
            for i in range(config.restore.seeds)
            for method in self.entrants.of(task)
        ]
        self.step = 0
        """Units done."""
        self._told = Told()
        self._work: Timed | Budgeted | None = None
        self._scored: list[RestorationScored] = []
        self._missing: list[RestorationMissing] = []
        self._seconds: dict[str, float] = {}
        """What the hybrids took of the degradation at work."""
        self._results: dict[str, Tensor] = {}
        """The first restorations of the cell at work, by method, for its picture."""

    @classmethod
    def from_config(cls, config: RestoreRun, device: torch.device | str) -> Self:
        """Raises UserError for data or a network that is missing, and for a network of other images."""
        prior = load_prior(config.prior.run, device)
        conditioned = [ConditionedModel.of_run(Path(run), device) for run in config.restore.conditioned]
        for name, model in (("prior", prior[0]), *((one.run, one.model) for one in conditioned)):
            if model.shape != (1, sets.SIDE, sets.SIDE):
                told = "x".join(map(str, model.shape))
                raise UserError(f"The {name} knows {told} images, not 1x28x28.", "Give one of 28x28 grey images.")
        root = Path(config.data.directory).expanduser() if config.data.directory else None
        images = {str(name): sets.load(name, config.restore.images, root=root) for name in config.restore.sets}
        return cls(config, images, prior, device, conditioned)

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
            yield from self._told.rest("cell", lambda: self._absent(unit))  # noqa: B023
            yield from self._restore(unit)
        if not self._scored:
            raise UserError("Every method failed.", f"The first one: {self._missing[0].why}")
        yield from self._told.rest("closing", self._closing)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items. What hangs on a clock goes on as far as it can."""
        return {
            "prior": self.loaded.sha256,
            "conditioned": [model.sha256 for model in self.conditioned],
            "step": self.step,
            "told": self._told.counts,
            "work": self._work.state_dict() if self._work else None,
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "missing": [msgspec.to_builtins(missing) for missing in self._missing],
            "seconds": self._seconds,
            "results": self._results,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called. Raises UserError where a network is another one than then."""
        refuse_another(state["prior"], self.loaded)
        for before, model in zip(state["conditioned"], self.conditioned, strict=True):
            refuse_another(before, PriorLoaded(run=model.run, sha256=model.sha256, parameters=0))
        self.step = state["step"]
        self._told.counts = dict(state["told"])
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]
        self._missing = [msgspec.convert(missing, RestorationMissing) for missing in state["missing"]]
        self._seconds, self._results = dict(state["seconds"]), dict(state["results"])
        if state["work"]:
            self._work = self._begin(self.units[self.step])
            self._work.load_state_dict(state["work"])

    # A unit

    def _case(self, unit: Unit) -> tuple[Case, Tensor]:
        """What the method is given, and the truth."""
        truth = to_unit(self.sets[unit.set].images).to(self.device)
        seeds = [derive(unit.seed, f"measurement of {unit.set} {place}") for place in range(len(truth))]
        y, degradation = degrade(parse_task(unit.task), truth, seeds)
        n, c, h, w = truth.shape
        return Case(y, degradation, (n, c, h, w), seed=derive(unit.seed, "restoration")), truth

    def _begin(self, unit: Unit) -> Timed | Budgeted:
        return self.entrants.begin(unit.method, unit.task, self._case(unit)[0], list(self._seconds.values()))

    def _restore(self, unit: Unit) -> Iterator[Item]:
        """Restore and score; a method that fails says why and has no score, and the others go on."""
        try:
            work = self._work = self._work or self._begin(unit)
            for item in work:
                if isinstance(item, Step):
                    yield Step(step=self.step)
            self._finish(unit, work)
        except Exception as error:
            if not isinstance(error, UserError):
                logging.getLogger(__name__).exception("%s failed", unit)
            self._give_up(unit, error)

    def _finish(self, unit: Unit, work: Timed | Budgeted) -> None:
        """Score what has been restored."""
        if isinstance(work, Timed):
            result, done = work.result(), work.restorer
            found = {"": Spent(result, 1, done.nfe, done.iterations, work.seconds)}
            if unit.method in HYBRIDS:
                self._seconds[unit.method] = work.seconds
        elif unit.method == POSTERIOR_MEAN or not self._seconds:
            found = {"": work.met[0]}
        else:
            found = {name: work.of(seconds) for name, seconds in self._seconds.items()}
        _, truth = self._case(unit)
        images, step = self.sets[unit.set], self.step + 1
        self._scored += [unit.scored(spent, name, images, truth, step) for name, spent in found.items()]
        if unit.seed == self.config.seed:
            self._results[unit.method] = next(iter(found.values())).images[:SHOWN]
        self._go_on()

    def _give_up(self, unit: Unit, error: Exception) -> None:
        """Note that a method has failed, with what it says of that."""
        self._seconds.pop(unit.method, None)
        self._results.pop(unit.method, None)
        self._missing.append(unit.failed(error, self.step + 1))
        self._go_on()

    def _go_on(self) -> None:
        """The state stands at the next unit."""
        self.step += 1
        self._work = None
        self._told.again("unit")
        if self._at_new("seed"):
            self._seconds = {}
        if self._at_new("cell"):
            self._told.again("cell")

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
        networks = [
            Message(text=f"The network for {format_task(one.task)}, which sees {SEES[one.options.beside]}: {one.run}")
            for one in self.conditioned
        ]
        return [self.loaded, *networks, *loaded]

    def _absent(self, unit: Unit) -> list[RestorationMissing]:
        """What has no part in the cell of a unit."""
        missing = self.entrants.missing(unit.task)
        return [unit.absent(method, why, self.step) for method, why in missing.items()]

    def _of_last_unit(self) -> list[Item]:
        """What came of the unit that was done last and, where its cell is complete, the picture and the sum of it."""
        if self.step == 0:
            return []
        told: list[RestorationScored | RestorationMissing] = [*self._scored, *self._missing]
        items: list[Item] = [event for event in told if event.step == self.step]
        if not self._at_new("cell"):
            return items
        compared = self._board().headline(self.step)
        return [*items, self._picture(self.units[self.step - 1]), *([compared] if compared else [])]

    def _picture(self, unit: Unit) -> Pictures:
        """A row for each image: degraded, restored by each method, and the truth."""
        case, truth = self._case(replace(unit, seed=self.config.seed))
        shown = [name for name in self.entrants.of(unit.task) if name in self._results]
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

    def _board(self) -> Scoreboard:
        cells = {(unit.task, unit.set): unit for unit in self.units[: self.step]}
        absent = [event for unit in cells.values() for event in self._absent(unit)]
        return Scoreboard([*self._scored, *self._missing, *absent])

    def _closing(self) -> list[Item]:
        board = self._board()
        return [
            *(Message(text=text) for text in board.verdicts()),
            Document(name="scores.json", text=report.as_json(board)),
            Document(name="scores.txt", text=report.as_text(board)),
            *report.pictures(board, self.step),
        ]
