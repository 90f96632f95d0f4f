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

from core.config import RestoreRun, format_task
from core.data import ImageSet
from core.ddpm.trained import TrainedModel
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
from core.hybrid.timed import clock_of
from core.hybrid.told import Told
from core.parallel import Ranks
from core.restore import report, sets
from core.restore.entrants import Entrants
from core.restore.piece import SHOWN, Outcome, Piece, degraded
from core.restore.unit import Unit
from core.scores import Scoreboard

MEET_SECONDS = 1.0
"""After so long, processes that share the work tell each other what they have."""
SEES = {"dip": "DIP's result", "pinv": "A+ y"}


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
        self.prior, self.loaded = prior
        self.device = torch.device(device)
        self.conditioned = conditioned
        self.ranks = Ranks.here()
        clock = clock_of(self.device)
        self.entrants = Entrants(config.restore, self.prior, config.dip, conditioned, clock)
        self.units = [
            Unit(task, name, config.seed + i, method)
            for task in config.restore.tasks
            for name in config.restore.sets
            for i in range(config.restore.seeds)
            for method in self.entrants.of(task)
        ]
        self._firsts = [place for place in range(len(self.units)) if self._at_new("seed", place)]
        """Where the units of each degradation begin."""
        self.step = 0
        """Units done, as far as all before them are."""
        self._told = Told()
        self._waiting = list(self._firsts)
        """Degradations that no process has taken yet."""
        self._begun: dict[int, State] = {}
        """Those of them that were begun before a resume."""
        self._idle = [True] * self.ranks.count
        """Which ranks have none."""
        self._piece: Piece | None = None
        self._items: Iterator[Outcome | Step] = iter(())
        """Of the piece at work here."""
        self._found: dict[int, Outcome] = {}
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
            while self.step not in self._found:
                self._advance()
                if self.step not in self._found:
                    yield Step(step=self.step)
            self._go_on(self._found.pop(self.step))
        if not self._scored:
            raise UserError("Every method failed.", f"The first one: {self._missing[0].why}")
        yield from self._told.rest("closing", self._closing)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items. Of several processes, the first one has it."""
        mine = {self._piece.first: self._piece.state_dict()} if self._piece else {}
        begun = {first: state for part in self.ranks.collected(mine) for first, state in part.items()}
        return {
            "prior": self.loaded.sha256,
            "conditioned": [model.sha256 for model in self.conditioned],
            "step": self.step,
            "told": self._told.counts,
            "begun": {**self._begun, **begun},
            "waiting": sorted([*self._waiting, *begun]),
            "found": [outcome.kept() for outcome in self._found.values()],
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "missing": [msgspec.to_builtins(missing) for missing in self._missing],
            "results": self._results,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called. Raises UserError where a network is another one than then."""
        refuse_another(state["prior"], self.loaded)
        for before, model in zip(state["conditioned"], self.conditioned, strict=True):
            refuse_another(before, PriorLoaded(run=model.run, sha256=model.sha256, parameters=0))
        self.step = state["step"]
        self._told.counts = dict(state["told"])
        self._begun, self._waiting = dict(state["begun"]), list(state["waiting"])
        self._found = {found.place: found for found in map(Outcome.of, state["found"])}
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]
        self._missing = [msgspec.convert(missing, RestorationMissing) for missing in state["missing"]]
        self._results = dict(state["results"])
        self._idle = [True] * self.ranks.count

    # The work

    def _advance(self) -> None:
        """Take the work on here, to the next item or, where others do some too, for a while; and hear from them."""
        self._share_out()
        until = time.monotonic() + (MEET_SECONDS if self.ranks.count > 1 else 0)
        fresh = []
        while self._piece is not None:
            item = next(self._items)
            if isinstance(item, Outcome):
                fresh.append(item.kept())
                if self._piece.over:
                    self._piece = None
            if time.monotonic() >= until:
                break
        parts = self.ranks.gathered({"idle": self._piece is None, "fresh": fresh})
        self._idle = [part["idle"] for part in parts]
        for found in (Outcome.of(kept) for part in parts for kept in part["fresh"]):
            self._found[found.place] = found

    def _share_out(self) -> None:
        """Give the next degradations to the ranks that have none. All ranks do the same."""
        for rank, idle in enumerate(self._idle):
            if idle and self._waiting:
                first = self._waiting.pop(0)
                begun = self._begun.pop(first, None)
                if rank == self.ranks.rank:
                    self._take(first, begun)

    def _take(self, first: int, begun: State | None) -> None:
        end = next((place for place in self._firsts if place > first), len(self.units))
        units = self.units[first:end]
        self._piece = Piece(units, first, self.entrants, self.sets[units[0].set], self.device)
        if begun is not None:
            self._piece.load_state_dict(begun)
        self._items = iter(self._piece)

    def _go_on(self, found: Outcome) -> None:
        """Take in what came of a unit; the state stands at the next one."""
        unit = self.units[self.step]
        self._scored += found.scored
        if found.missing is not None:
            self._missing.append(found.missing)
            self._results.pop(unit.method, None)
        elif unit.seed == self.config.seed:
            self._results[unit.method] = found.shown.to(self.device)
        self.step += 1
        self._told.again("unit")
        if self._at_new("cell", self.step):
            self._told.again("cell")

    def _at_new(self, what: Literal["cell", "seed"], place: int) -> bool:
        """Whether the unit at a place is of another cell, or another degradation, than the one before."""
        if place in {0, len(self.units)}:
            return True
        last, coming = self.units[place - 1], self.units[place]
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
        if not self._at_new("cell", self.step):
            return items
        compared = self._board().headline(self.step)
        return [*items, self._picture(self.units[self.step - 1]), *([compared] if compared else [])]

    def _picture(self, unit: Unit) -> Pictures:
        """A row for each image: degraded, restored by each method, and the truth."""
        case, truth = degraded(replace(unit, seed=self.config.seed), self.sets[unit.set], self.device)
        shown = [name for name in self.entrants.of(unit.task) if name in self._results]
        before = case.degradation.operator.pinv(case.y)
        columns = [before[:SHOWN], *(self._results[name] for name in shown), truth[:SHOWN]]
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
