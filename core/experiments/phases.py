"""Phases that run one after the other; a hybrid run trains the prior, restores the images, then runs each baseline."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import msgspec
from torch import Tensor, nn

from dipddpm.core.config import HybridRun
from dipddpm.core.data.given import GivenImages
from dipddpm.core.data.names import image_names
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.panels import comparison, side_by_side
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    BestModel,
    EarlyStopped,
    Experiment,
    FitMeasured,
    Item,
    Message,
    Pictures,
    PsnrMeasured,
    QualityPredicted,
    RestorationMissing,
    RestorationScored,
    RestoredImages,
    Resumable,
    StateDict,
    Step,
)
from dipddpm.core.experiments.given import qualities, restored_files
from dipddpm.core.experiments.spread import root_mean_squares, spread_items
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.budget import Cost, Stopwatch, TimeBudget
from dipddpm.core.metrics.image import psnr, ssim_scores
from dipddpm.core.metrics.usable import count_unusable, unusable_text

UNUSABLE_REMEDY = "Lower dip.lr, or train the prior with a lower ddpm.lr, ddpm.beta_end or ddpm.timesteps."
"""The remedy for a restoration that isn't finite."""

Score: TypeAlias = Callable[[str, Cost, int], RestorationScored]
"""A function that scores a method's restoration and cost; the third argument is the step of the event."""


class Phase(Resumable, Protocol):
    """A part of a run that counts its own steps from 0, and may end before it has taken all planned steps.

    Items after its last `Step` come before the next phase's first `Step`; after a resume in between they are yielded
    again, so they must follow from the state alone.
    """

    @property
    def step(self) -> int:
        """Number of steps done."""
        ...

    def __len__(self) -> int:
        """Return the number of planned steps, known before the phase begins."""
        ...


class Phases:
    """A sequence of phases that run one after the other; a finished phase counts all its planned steps."""

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = phases
        self.index = 0
        """Index of the current phase; the number of phases once all have ended."""

    @property
    def finished(self) -> bool:
        """True if all phases have ended."""
        return self.index == len(self.phases)

    @property
    def step(self) -> int:
        """Number of steps done in all phases together."""
        return self._offset + (0 if self.finished else self.phases[self.index].step)

    def __len__(self) -> int:
        return sum(map(len, self.phases))

    def __iter__(self) -> Iterator[Item]:
        while not self.finished:
            offset = self._offset
            for item in self.phases[self.index]:
                yield shift_step(item, offset)
            self.index += 1
            if not self.finished:
                yield Step(step=self.step)  # after it, a checkpoint can hold what the phase yielded at its end

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"index": self.index, "phases": [phase.state_dict() for phase in self.phases]}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state, phase by phase: a phase may need the results of the phases before it."""
        self.index = state["index"]
        for phase, its_state in zip(self.phases, state["phases"], strict=True):
            phase.load_state_dict(its_state)

    @property
    def _offset(self) -> int:
        """Planned steps of the finished phases."""
        return sum(map(len, self.phases[: self.index]))


class PriorTraining:
    """The training of the prior, with the weights of its best model, which the restoration uses."""

    def __init__(self, training: Experiment) -> None:
        self.training = training
        self.best: dict[str, Tensor] | None = None

    @property
    def step(self) -> int:
        """Number of training steps done."""
        return self.training.step

    def __len__(self) -> int:
        return self.training.started().steps

    def __iter__(self) -> Iterator[Item]:
        for item in self.training:
            if isinstance(item, BestModel):
                self.best = copy.deepcopy(dict(item.network.state_dict()))
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"training": self.training.state_dict(), "best": self.best}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.training.load_state_dict(state["training"])
        self.best = state["best"]


@dataclass(eq=False)
class Restoring:
    """The restoration of the images by the hybrid, with measurements on the way and a score at the end.

    `begin` builds the restorer with its stopwatch, `planned` is its number of steps, and `prior_network` returns the
    network to store with the best model. The truth (N, C, H, W) is for reporting only; without it, the misfit to the
    measurements is reported. The images may be `given` ones, whose restorations are stored as files like theirs.
    """

    begin: Callable[[], Stopwatch]
    planned: int
    case: Case
    truth: Tensor | None
    config: HybridRun
    score: Score
    prior_network: Callable[[], nn.Module | None]
    given: GivenImages | None = None
    step: int = 0
    cost: Cost | None = None
    """The restored images and their cost; None until the restoration has ended."""
    scored: list[RestorationScored] = field(default_factory=list)
    _measured_at: int = 0
    """The step of the last measurement of the images."""
    _loss: float | None = None
    _stopwatch: Stopwatch | None = None

    def __len__(self) -> int:
        return self.planned

    def __iter__(self) -> Iterator[Item]:
        stopwatch = self._stopwatch = self._stopwatch or self.begin()
        for item in stopwatch:
            if isinstance(item, Step):
                before, self.step, self._loss = self.step, item.step, item.loss
                yield from self._step_items(before, stopwatch.restorer.images)
                yield Step(step=self.step)
            elif isinstance(item, EarlyStopped):
                # The stop of one of the method's fits isn't the stop of the image's restoration.
                yield Message(text=f"Rule {item.rule} stopped a fit of image {item.image} at iteration {item.at}")
            else:
                yield item
        self.cost, restorer = stopwatch.cost(), stopwatch.restorer
        self._stopwatch = None
        images = self.cost.images
        if problem := unusable_text(images, "restored images"):
            if count_unusable(images) == len(images):
                raise UserError(f"{problem}.", UNUSABLE_REMEDY)
            yield Message(text=f"{problem}. {UNUSABLE_REMEDY}", level="warning")
        yield from self._end_items(self.cost, restorer)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "step": self.step,
            "measured": self._measured_at,
            "loss": self._loss,
            "work": self._stopwatch.state_dict() if self._stopwatch else None,
            "cost": dict(vars(self.cost)) if self.cost else None,
            "scored": [msgspec.to_builtins(scored) for scored in self.scored],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step, self._measured_at, self._loss = state["step"], state["measured"], state["loss"]
        if state["work"]:
            self._stopwatch = self.begin()
            self._stopwatch.load_state_dict(state["work"])
        self.cost = Cost(**state["cost"]) if state["cost"] else None
        self.scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]

    def _step_items(self, before: int, images: Tensor) -> Iterator[Item]:
        """Yield measurements and pictures at the intervals of the DIP options."""
        dip = self.config.dip
        if self.step // dip.measure_every > before // dip.measure_every:
            yield self._measurement(images)
        if dip.picture_every and self.step // dip.picture_every > before // dip.picture_every:
            yield self._picture("restoring", images, f"Step {self.step}", numbered=True)

    def _end_items(self, cost: Cost, restorer: Restorer) -> Iterator[Item]:
        spread = restorer.spread
        is_measured = self._measured_at == self.step
        self.step = len(self)
        if not is_measured:
            yield self._measurement(cost.images)
        operator, y = self.case.degradation.operator, self.case.y
        measured = operator.measured(y)
        # The mean of (A x - y)^2 over the measured values, which needs no truth.
        residual = float(((operator.A(cost.images) - y).square() * measured).sum() / measured.sum())
        yield BestModel(
            network=self.prior_network(),
            step=self.step,
            value=residual,
            measure="residual",
            tensors={"restored": cost.images} | ({} if spread is None else {"spread": spread}),
        )
        yield self._picture("restored", cost.images, f"Restored by {self.config.method}")
        yield from spread_items(restorer, self.truth, self.config.method, self.step)
        if self.given is not None:
            yield from restored_files(self.given, list(cost.images), self.config, self.step, spread=spread)
        else:
            yield RestoredImages(
                names=image_names(self.config.images),
                restored=list(cost.images),
                degraded=list(self.case.y),
                step=self.step,
            )
        if self.truth is not None:
            self.scored = [self.score(self.config.method, cost, self.step)]
            yield from self.scored
        elif self.given is not None:
            known = qualities(self.case.y, self.case.degradation, cost.images)
            levels = [None] * len(known) if spread is None else root_mean_squares(spread)
            for image, (name, values, level) in enumerate(zip(self.given.names, known, levels, strict=True)):
                yield QualityPredicted(
                    image=image, name=name, method=self.config.method, step=self.step, **values, spread=level
                )

    def _measurement(self, images: Tensor) -> PsnrMeasured | FitMeasured:
        self._measured_at = self.step
        if self.truth is None:
            known = qualities(self.case.y, self.case.degradation, images)
            return FitMeasured(
                step=self.step,
                residual=[each["residual"] for each in known],
                noise=[each["noise"] for each in known],
                loss=[] if self._loss is None else [self._loss],
            )
        values = psnr(images, self.truth).tolist()
        return PsnrMeasured(
            step=self.step,
            psnr=values,
            mean=sum(values) / len(values),
            loss=[] if self._loss is None else [self._loss],
            ssim=ssim_scores(images, self.truth),
        )

    def _picture(self, name: str, images: Tensor, title: str, *, numbered: bool = False) -> Pictures:
        rows = side_by_side(self.case.y, self.case.degradation, images, self.truth)
        has_truth = self.truth is not None
        return comparison(name, rows, step=self.step, title=title, numbered=numbered, has_truth=has_truth)


@dataclass(eq=False)
class Comparing:
    """The run of a baseline for as many seconds as the hybrid took, with its score.

    A baseline with a restored image that isn't finite is reported as failed, because its mean PSNR would be NaN.
    """

    method: str
    begin: Callable[[], TimeBudget]
    score: Score
    step: int = 0
    scored: list[RestorationScored | RestorationMissing] = field(default_factory=list)
    _budget: TimeBudget | None = None

    def __len__(self) -> int:
        return TimeBudget.STEPS

    def __iter__(self) -> Iterator[Item]:
        budget = self._budget = self._budget or self.begin()
        for item in budget:
            if isinstance(item, Step):
                self.step = max(self.step, item.step)
                yield Step(step=self.step)
        self.step = len(self)
        scored = self.score(self.method, budget.reached[0], self.step)
        self.scored = [scored]
        if problem := unusable_text(budget.reached[0].images, "restored images"):
            about = {name: getattr(scored, name) for name in ("task", "method", "step", "set", "seed")}
            self.scored = [RestorationMissing(**about, why=f"{problem}.", failed=True)]
        self._budget = None
        yield from self.scored

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "step": self.step,
            "budget": self._budget.state_dict() if self._budget else None,
            "scored": [msgspec.to_builtins(scored) for scored in self.scored],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step = state["step"]
        if state["budget"]:
            self._budget = self.begin()
            self._budget.load_state_dict(state["budget"])
        self.scored = [msgspec.convert(scored, RestorationScored | RestorationMissing) for scored in state["scored"]]
