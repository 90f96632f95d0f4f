"""One degradation of one set of images, restored by every method in turn: what a process does by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor

from core.config import HYBRIDS, parse_task
from core.data import ImageSet
from core.degrade import degrade
from core.errors import UserError
from core.events import RestorationMissing, RestorationScored, State, Step
from core.hybrid.restorer import Case
from core.hybrid.timed import Budgeted, Spent, Timed
from core.images import to_unit
from core.restore.entrants import Entrants
from core.restore.unit import Unit
from core.scores import POSTERIOR_MEAN
from core.seeds import derive

SHOWN = 8
"""Images of each set that pictures show."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of the unit at `place`, and its first restorations, (n, C, H, W), where it came to any."""

    place: int
    scored: list[RestorationScored]
    missing: RestorationMissing | None = None
    shown: Any = None

    def kept(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return {**msgspec.to_builtins(msgspec.structs.replace(self, shown=None)), "shown": self.shown}

    @classmethod
    def of(cls, kept: State) -> Outcome:
        """The inverse of `kept`."""
        found = msgspec.convert({**kept, "shown": None}, cls)
        return msgspec.structs.replace(found, shown=kept["shown"])


class Piece:
    """Yields an `Outcome` for each unit, and on the way to it a Step now and then.

    The units stay together, in their order, since the seconds that hybrids take are what their parents are given. A
    method that fails says why and has no score, and the others go on.
    """

    def __init__(
        self, units: Sequence[Unit], first: int, entrants: Entrants, images: ImageSet, device: torch.device
    ) -> None:
        """`units` are of one degradation of `images`; the first of them has the place `first` among all."""
        self.units = units
        self.first = first
        self.entrants = entrants
        self.images = images
        self.device = device
        self.done = 0
        """Units done."""
        self._work: Timed | Budgeted | None = None
        self._seconds: dict[str, float] = {}
        """What each hybrid took."""

    def __iter__(self) -> Iterator[Outcome | Step]:
        while not self.over:
            unit = self.units[self.done]
            try:
                work = self._work = self._work or self._begin(unit)
                for item in work:
                    if isinstance(item, Step):
                        yield Step(step=self.first + self.done)
                outcome = self._finish(unit, work)
            except Exception as error:
                if not isinstance(error, UserError):
                    logging.getLogger(__name__).exception("%s failed", unit)
                outcome = self._give_up(unit, error)
            self.done += 1
            self._work = None
            yield outcome

    @property
    def over(self) -> bool:
        """Whether all its units are done."""
        return self.done == len(self.units)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items. What hangs on a clock goes on as far as it can."""
        work = self._work.state_dict() if self._work else None
        return {"done": self.done, "seconds": self._seconds, "work": work}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called."""
        self.done, self._seconds = state["done"], dict(state["seconds"])
        if state["work"]:
            self._work = self._begin(self.units[self.done])
            self._work.load_state_dict(state["work"])

    def _begin(self, unit: Unit) -> Timed | Budgeted:
        case, _ = degraded(unit, self.images, self.device)
        return self.entrants.begin(unit.method, unit.task, case, list(self._seconds.values()))

    def _finish(self, unit: Unit, work: Timed | Budgeted) -> Outcome:
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
        _, truth = degraded(unit, self.images, self.device)
        place = self.first + self.done
        scored = [unit.scored(spent, name, self.images, truth, place + 1) for name, spent in found.items()]
        return Outcome(place, scored, shown=next(iter(found.values())).images[:SHOWN])

    def _give_up(self, unit: Unit, error: Exception) -> Outcome:
        """Note that a method has failed, with what it says of that."""
        self._seconds.pop(unit.method, None)
        place = self.first + self.done
        return Outcome(place, [], unit.failed(error, place + 1))


def degraded(unit: Unit, images: ImageSet, device: torch.device) -> tuple[Case, Tensor]:
    """What the methods are given of these images, and the truth."""
    truth = to_unit(images.images).to(device)
    seeds = [derive(unit.seed, f"measurement of {unit.set} {place}") for place in range(len(truth))]
    y, degradation = degrade(parse_task(unit.task), truth, seeds)
    n, c, h, w = truth.shape
    return Case(y, degradation, (n, c, h, w), seed=derive(unit.seed, "restoration")), truth
