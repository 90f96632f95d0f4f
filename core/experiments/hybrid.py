"""A hybrid run from config to scoreboard: what the worker carries out, and a notebook can iterate over."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from dipddpm.core import registry
from dipddpm.core.config import HybridRun, format_task
from dipddpm.core.data.sources import load_batch, load_training
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.panels import comparison, side_by_side
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import DDPM_MEAN, DIP_MEAN, Scoreboard
from dipddpm.core.events import (
    BestModel,
    DataLoaded,
    EarlyStopped,
    Experiment,
    Item,
    Message,
    Pictures,
    PriorLoaded,
    PsnrMeasured,
    RestorationScored,
    RunStarted,
    StateDict,
    Step,
    Tensors,
)
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.experiments.priors import load_prior, refuse_other_prior
from dipddpm.core.experiments.replay import ReplayCursor
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import Cost, Stopwatch, TimeBudget, baselines, clock_of
from dipddpm.core.metrics.image import psnr, ssim_scores
from dipddpm.core.metrics.samples import SampleEvaluator


class HybridExperiment:
    """Train a prior or take one, restore degraded images with a hybrid, and score it against both parents.

    The parents, DIP and the DDPM, are given the seconds that the hybrid took, for restarts and samples whose results
    they average. The truth is for reporting only. Images are of one size, and restored as one batch.
    """

    network = None

    def __init__(
        self,
        config: HybridRun,
        truth: Tensor,
        labels: list[str],
        loaded: DataLoaded,
        device: torch.device | str,
        *,
        prior: tuple[TrainedModel, PriorLoaded] | None = None,
        training: Experiment | None = None,
    ) -> None:
        """`truth` are true images (N, C, H, W) in [0, 1], still on the CPU; `training` makes the prior."""
        self.config = config
        self.truth = truth.to(device)
        self.loaded = loaded
        self.given_prior = prior
        self.training = training
        self.case = Case.of(truth, config.task, labels, config.seed).to(device)
        self.clock = clock_of(self.truth.device)
        self._cursor = ReplayCursor()
        self._best: dict[str, Tensor] | None = None
        """The weights of the best model, where one is trained here."""
        self._restorer_steps = len(self._restorer(self._untrained()))
        self._stopwatch: Stopwatch | None = None
        self._restorer_step = self._previous_step = 0
        """The hybrid's last step, and the one before."""
        self._loss: float | None = None
        self._cost: Cost | None = None
        self._baselines: dict[str, TimeBudget] = {}
        self._scored: list[RestorationScored] = []
        self._step = 0

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Raises UserError for images, data or a prior that are missing or don't go together."""
        truth, labels, loaded = load_batch(config.images, config.data)
        if not config.hybrid.needs_prior:
            return cls(config, truth, labels, loaded, device)
        if config.trains:
            train, validation = load_training(config.data, held_out=config.ddpm.hold_out)
            refuse_other_size(tuple(truth.shape[1:]), tuple(train.images.shape[1:]))
            evaluator = SampleEvaluator.of(config.data, train) if config.ddpm.evaluate else None
            training = DdpmExperiment(config, train, device, validation=validation, evaluator=evaluator)
            return cls(config, truth, labels, loaded, device, training=training)
        prior = load_prior(config.prior.run, device)
        refuse_other_size(tuple(truth.shape[1:]), prior[0].shape)
        return cls(config, truth, labels, loaded, device, prior=prior)

    @property
    def step(self) -> int:
        """Steps of the training, then of the hybrid, then hundredths of each parent's time."""
        return max(self._step, self.training.step if self.training else 0)

    @property
    def epoch(self) -> int:
        """Epochs that the prior has been trained for."""
        return self.training.epoch if self.training else 0

    @property
    def restored(self) -> Tensor | None:
        """The restored images (N, C, H, W), in [0, 1] but not clipped; None before they are done."""
        return None if self._cost is None else self._cost.images

    def started(self) -> RunStarted:
        """Totals and sizes; `parameters` counts those of a prior that is trained here."""
        training = self.training.started() if self.training else None
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.truth.device),
            epochs=training.epochs if training else 0,
            steps=self._training_steps
            + self._restorer_steps
            + sum(len(baseline) for baseline in self._new_baselines(1.0).values()),
            images=len(self.truth),
            parameters=training.parameters if training else 0,
        )

    def __iter__(self) -> Iterator[Item]:
        yield from self._cursor.remaining("opening", self._opening_items)
        for item in self.training or ():
            if isinstance(item, BestModel):
                self._best = copy.deepcopy(dict(item.network.state_dict()))
            yield item
        yield from self._restore()
        yield from self._compare()
        yield from self._cursor.remaining("closing", self._closing_items)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        return {
            "training": self.training.state_dict() if self.training else None,
            "best": self._best,
            "prior": self.given_prior[1].sha256 if self.given_prior else "",
            "told": self._cursor.counts,
            "work": self._stopwatch.state_dict() if self._stopwatch else None,
            "at": self._restorer_step,
            "before": self._previous_step,
            "loss": self._loss,
            "spent": dict(vars(self._cost)) if self._cost else None,
            "rivals": {name: baseline.state_dict() for name, baseline in self._baselines.items()},
            "scored": [msgspec.to_builtins(scored) for scored in self._scored],
            "step": self._step,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called. Raises UserError where the prior is another one than then."""
        if self.given_prior:
            refuse_other_prior(state["prior"], self.given_prior[1])
        if self.training:
            self.training.load_state_dict(state["training"])
        self._best = state["best"]
        self._cursor.counts = dict(state["told"])
        self._restorer_step, self._previous_step, self._loss = state["at"], state["before"], state["loss"]
        self._step = state["step"]
        if state["work"]:
            self._stopwatch = self._begin()
            self._stopwatch.load_state_dict(state["work"])
        if state["spent"]:
            self._cost = Cost(**state["spent"])
            self._baselines = self._new_baselines(self._cost.seconds)
            for name, its_state in state["rivals"].items():
                self._baselines[name].load_state_dict(its_state)
        self._scored = [msgspec.convert(scored, RestorationScored) for scored in state["scored"]]

    # The prior

    @property
    def _training_steps(self) -> int:
        """Steps before the restoration."""
        return self.training.started().steps if self.training else 0

    def _untrained(self) -> TrainedModel | None:
        """The prior as far as its size goes."""
        return self._as_model(self.training.network) if self.training else self.given_prior and self.given_prior[0]

    def _prior(self) -> TrainedModel | None:
        """The trained prior; of a training its best model, not its last."""
        if not self.training:
            return self.given_prior and self.given_prior[0]
        network = copy.deepcopy(self.training.network)
        if self._best is not None:
            network.load_state_dict(self._best)
        return self._as_model(network.eval())

    def _as_model(self, network: torch.nn.Module) -> TrainedModel:
        device = self.truth.device
        return TrainedModel(network, Schedule.from_config(self.config.ddpm, device), self.config.ddpm, device)

    # The restoration

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        method = registry.resolve(self.config.hybrid.restorer_path)
        made: Restorer = method.for_case(self.case, prior, self.config.hybrid, self.config.dip)
        return made

    def _begin(self) -> Stopwatch:
        prior = self._prior()
        return Stopwatch(lambda: self._restorer(prior), self.clock)

    def _restore(self) -> Iterator[Item]:
        if self._cost is None:
            stopwatch = self._stopwatch = self._stopwatch or self._begin()
            yield from self._cursor.remaining("step", self._step_items)
            for item in stopwatch:
                if isinstance(item, Step):
                    self._previous_step, self._restorer_step, self._loss = self._restorer_step, item.step, item.loss
                    self._step = self._training_steps + self._restorer_step
                    self._cursor.reset("step")
                    yield from self._cursor.remaining("step", self._step_items)
                else:
                    yield _as_message(item)
            images = stopwatch.result()
            restorer = stopwatch.restorer
            self._cost = Cost(images, 1, restorer.nfe, restorer.iterations, stopwatch.seconds)
            self._stopwatch = None
            self._step = self._training_steps + self._restorer_steps
        yield from self._cursor.remaining("restored", self._end_items)

    def _step_items(self) -> list[Item]:
        """What there is to tell after a step; the looks are those of a DIP run."""
        if self._stopwatch is None or not self._restorer_step:
            return []
        items: list[Item] = [Step(step=self._step)]
        options = self.config.dip
        if self._crossed(options.measure_every):
            items.append(self._psnr_event(self._stopwatch.restorer.images))
        if options.picture_every and self._crossed(options.picture_every):
            title = f"Step {self._restorer_step}"
            items.append(self._picture("restoring", self._stopwatch.restorer.images, title, numbered=True))
        return items

    def _crossed(self, every: int) -> bool:
        return self._restorer_step // every > self._previous_step // every

    def _psnr_event(self, images: Tensor) -> PsnrMeasured:
        values = psnr(images, self.truth).tolist()
        return PsnrMeasured(
            step=self._step,
            psnr=values,
            mean=sum(values) / len(values),
            loss=[] if self._loss is None else [self._loss],
            ssim=ssim_scores(images, self.truth),
        )

    def _end_items(self) -> list[Item]:
        """What there is to keep of the restoration."""
        assert self._cost is not None
        images = self._cost.images
        scored = self._score(self.config.method, self._cost)
        measured = [] if self._crossed(self.config.dip.measure_every) else [self._psnr_event(images)]
        return [
            *measured,
            BestModel(
                network=self._prior().network if self.training else None,  # type: ignore[union-attr]
                step=self._step,
                value=self._residual(images),
                measure="residual",
                tensors={"restored": images},
            ),
            self._picture("restored", images, f"Restored by {self.config.method}"),
            scored,
        ]

    def _residual(self, images: Tensor) -> float:
        """The mean of (A x - y)^2 over what is measured: it needs no truth."""
        operator, y = self.case.degradation.operator, self.case.y
        measured = operator.measured(y)
        return float(((operator.A(images) - y).square() * measured).sum() / measured.sum())

    # The scoreboard

    def _new_baselines(self, seconds: float) -> dict[str, TimeBudget]:
        return baselines(self.case, self._prior(), self.config.dip, budgets=[seconds], clock=self.clock)

    def _compare(self) -> Iterator[Item]:
        assert self._cost is not None
        self._baselines = self._baselines or self._new_baselines(self._cost.seconds)
        first = self._training_steps + self._restorer_steps
        for name, baseline in self._baselines.items():
            for item in baseline:
                if isinstance(item, Step):
                    self._step = max(self._step, first + item.step)
                    yield Step(step=self._step)
            first += len(baseline)
            self._step = first
            yield from self._cursor.remaining(name, lambda: [self._score(name, baseline.reached[0])])  # noqa: B023

    def _score(self, method: str, cost: Cost) -> RestorationScored:
        """The score of a method, remembered for the end."""
        scored = RestorationScored(
            task=format_task(self.config.task),
            method=method,
            psnr=psnr(cost.images, self.truth).tolist(),
            ssim=ssim_scores(cost.images, self.truth),
            nfe=cost.nfe,
            iterations=cost.iterations,
            seconds=cost.seconds,
            step=self._step,
            set=self.loaded.dataset,
            seed=self.config.seed,
            runs=cost.runs,
            budget_of=self.config.method if method in {DIP_MEAN, DDPM_MEAN} else "",
        )
        self._scored = [*(s for s in self._scored if s.method != method), scored]
        return scored

    def _closing_items(self) -> list[Item]:
        board = Scoreboard(self._scored)
        compared = board.headline(self._step)
        return [*([compared] if compared else []), *(Message(text=text) for text in board.verdicts())]

    # What is seen

    def _opening_items(self) -> list[Item]:
        """What there is to see before the first step."""
        measured = self.case.degradation.operator.measured(self.case.y)
        measurement = Tensors(name="measurement", tensors={"y": self.case.y, "measured": measured})
        return [*([self.given_prior[1]] if self.given_prior else []), self.loaded, measurement]

    def _picture(self, name: str, images: Tensor, title: str, *, numbered: bool = False) -> Pictures:
        rows = side_by_side(self.case.y, self.case.degradation, images, self.truth)
        return comparison(name, rows, step=self._step, title=title, numbered=numbered)


def _as_message(item: Item) -> Item:
    """That a fit on the way has stopped is no stop of the image that it is about."""
    if isinstance(item, EarlyStopped):
        return Message(text=f"A fit of image {item.image} was stopped by {item.rule}, at iteration {item.at}")
    return item


def refuse_other_size(images: tuple[int, ...], prior: tuple[int, ...]) -> None:
    """Raise UserError where images and a prior are not of one shape (C, H, W)."""
    if images != prior:
        sizes = ["x".join(map(str, shape)) for shape in (prior, images)]
        problem = f"The prior knows {sizes[0]} images (channels, height, width), and these have {sizes[1]}."
        raise UserError(problem, "Give images of the prior's size, or a prior of theirs.")
