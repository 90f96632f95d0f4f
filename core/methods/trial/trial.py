"""Try methods on a part of the measurements of a picture, and choose the one that best predicts the other part."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, Message, MethodTried, StateDict, Step
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.budget import Clock, Stopwatch
from dipddpm.core.methods.trial.features import Features, Final, measure
from dipddpm.core.methods.trial.prediction import Prediction, predict
from dipddpm.core.methods.trial.rehearsal import Rehearsal
from dipddpm.core.methods.trial.splits import Split, split_measurements
from dipddpm.core.methods.trial.tried import Tried
from dipddpm.core.metrics.usable import unusable_text

Maker = Callable[[Case], Restorer]
"""Builds a method's restorer for a case. May raise UserError."""


class Trial:
    """The candidates' restorations of parts of one picture, made from a part of the measurements.

    Each candidate restores the case of a split of the measurements, and predicts the held-out part. Where a prediction
    of the quality needs it, it also restores a rehearsal: its own restoration, halved and damaged again. Yields the
    `Step`s of all these restorations, counted from 1 over all candidates, and after each candidate a `MethodTried` and
    one more `Step`. The last of these events have `chosen` set, those of the best candidate. A candidate that raises
    UserError, or whose images aren't finite, is left out with a warning. Resumes exactly after each `Step`.
    """

    def __init__(self, case: Case, makers: Mapping[str, Maker], clock: Clock, *, noise_error: float = 0.0) -> None:
        """Split the measurements of a `case` whose N images are parts of one picture.

        `noise_error` is the relative standard error of the noise level; 0 if the level is known.
        """
        self.case = case
        self.makers = dict(makers)
        self.clock = clock
        self.noise_error = noise_error
        self.split: Split = split_measurements(case, derive(case.seed, "trial"))
        self.tried: dict[str, Tried] = {}
        """The results of the candidates so far."""
        self.step = 0
        self._lengths = {name: self._planned(make) for name, make in self.makers.items()}
        self._stopwatch: Stopwatch | None = None
        self._first: Tensor | None = None
        """The current candidate's restoration of the split case, once it is finished."""
        self._seconds = 0.0
        """The seconds that this restoration took."""
        self._rehearsal: Rehearsal | None = None
        self.images: Tensor | None = None
        """The restoration of the split case by the best candidate so far."""

    def __len__(self) -> int:
        return sum(length + 1 for length in self._lengths.values())

    @property
    def finished(self) -> bool:
        """True if all candidates have been tried."""
        return len(self.tried) == len(self.makers)

    @property
    def best(self) -> str:
        """The candidate with the least held-out error. Raises UserError if none could restore the picture."""
        usable = {name: tried for name, tried in self.tried.items() if not tried.failed}
        if not usable:
            reasons = " ".join(dict.fromkeys(tried.failed for tried in self.tried.values()))
            raise UserError(f"No method could restore the picture. {reasons}", "Name another method.")
        return min(usable, key=lambda name: usable[name].error)

    def predict(self, case: Case, restored: Tensor, parts: Tensor | None) -> Prediction | None:
        """Predict the PSNR of the restoration of the whole picture by the best candidate; None if nothing can be said.

        `case` and `restored` (1, C, H, W) are the whole picture, and its restoration from all measurements. `parts` are
        the parts of `restored` that correspond to the images of the trial's case, (N, C, h, w). They are None for
        another picture than the one that was tried, of which less is known.
        """
        if parts is None:
            return predict(self.features(), self.best, final=False)
        return predict(self.features(case, restored, parts), self.best, final=True)

    def features(
        self, case: Case | None = None, restored: Tensor | None = None, parts: Tensor | None = None
    ) -> Features:
        """Return what `predict` predicts from; without a restoration, the features of the trial alone."""
        final = None
        if case is not None and restored is not None and parts is not None:
            final = Final(case, restored, parts, self.images)
        return measure(self.case, self.split, self.tried[self.best], self.noise_error, final)

    def __iter__(self) -> Iterator[Item]:
        while not self.finished:
            name = list(self.makers)[len(self.tried)]
            offset = sum(self._lengths[each] + 1 for each in self.tried)
            end = offset + self._lengths[name]
            try:
                for item in self._restorations(name):
                    shifted = shift_step(item, offset)
                    if isinstance(shifted, Step):
                        self.step = shifted.step
                    yield shifted
                self._finish(name)
            except UserError as error:
                self.tried[name] = Tried(failed=f"{error.problem}")
                yield Message(text=f"The method {name} is left out: {error.problem}", level="warning")
            self._stopwatch = self._first = self._rehearsal = None
            self.step = end + 1
            yield from self._events(name)
            yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "step": self.step,
            "tried": {name: msgspec.to_builtins(tried) for name, tried in self.tried.items()},
            "images": self.images,
            "first": self._first,
            "seconds": self._seconds,
            "work": self._stopwatch.state_dict() if self._stopwatch else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step, self.images, self._first, self._seconds = (
            state["step"],
            state["images"],
            state["first"],
            state["seconds"],
        )
        self.tried = {name: msgspec.convert(tried, Tried) for name, tried in state["tried"].items()}
        if state["work"] is not None:
            make = self.makers[list(self.makers)[len(self.tried)]]
            if self._first is not None:
                self._rehearsal = Rehearsal.of(self.case, self._first)
            case = self.split.case if self._rehearsal is None else self._rehearsal.case
            self._stopwatch = Stopwatch(lambda: make(case), self.clock)
            self._stopwatch.load_state_dict(state["work"])

    def _planned(self, make: Maker) -> int:
        try:
            first = len(make(self.split.case))
        except UserError:
            return 0
        rehearsal = Rehearsal.of(self.case, torch.zeros(self.case.shape, device=self.case.y.device))
        return first + (len(make(rehearsal.case)) if rehearsal else 0)

    def _restorations(self, name: str) -> Iterator[Item]:
        make = self.makers[name]
        if self._first is None:
            self._stopwatch = self._stopwatch or Stopwatch(lambda: make(self.split.case), self.clock)
            planned = len(self._stopwatch.restorer)
            yield from self._stopwatch
            cost = self._stopwatch.cost()
            if problem := unusable_text(cost.images, "restored images"):
                raise UserError(f"{problem}.", "")
            self._first, self._seconds = cost.images.detach(), cost.seconds
            self._rehearsal = Rehearsal.of(self.case, self._first)
            self._stopwatch = None
        else:
            planned = len(make(self.split.case))
        if self._rehearsal is not None:
            rehearsed = self._rehearsal.case
            self._stopwatch = self._stopwatch or Stopwatch(lambda: make(rehearsed), self.clock)
            for item in self._stopwatch:
                yield shift_step(item, planned)

    def _finish(self, name: str) -> None:
        if self._first is None:
            raise AssertionError("a candidate is finished after its restoration")
        tried = Tried.of(self.case, self.split, self._first, self._seconds)
        if self._rehearsal is not None and self._stopwatch is not None:
            cost = self._stopwatch.cost()
            tried.seconds += cost.seconds
            if not unusable_text(cost.images, "restored images"):
                tried.rehearsed = self._rehearsal.errors(cost.images)
        self.tried[name] = tried
        if self.best == name:
            self.images = self._first

    def _events(self, name: str) -> Iterator[MethodTried]:
        yield self._event(name, chosen=False) if not self.finished else self._event(name, chosen=name == self.best)
        if self.finished and name != self.best:
            yield self._event(self.best, chosen=True)

    def _event(self, name: str, *, chosen: bool) -> MethodTried:
        tried = self.tried[name]
        if tried.failed:
            return MethodTried(step=self.step, method=name)
        prediction = predict(measure(self.case, self.split, tried, self.noise_error), name, final=False)
        return MethodTried(
            step=self.step,
            method=name,
            held_out=255 * math.sqrt(max(0.0, tried.error + self.split.noise)),
            predicted_psnr=prediction.psnr if prediction else None,
            lower=prediction.lower if prediction else None,
            upper=prediction.upper if prediction else None,
            seconds=tried.seconds,
            chosen=chosen,
        )
