"""A hybrid run from config to scoreboard, as an experiment that the worker or a notebook iterates."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import torch

from dipddpm.core.config import HybridRun, format_task
from dipddpm.core.config.shapes import refuse_other_shape
from dipddpm.core.data.identity import task_files_loaded
from dipddpm.core.data.sources import file_messages
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.evaluation.rows import POSTERIOR_MEAN
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import (
    Experiment,
    Input,
    Item,
    Message,
    PriorLoaded,
    RestorationScored,
    RunStarted,
    StateDict,
    Step,
    Tensors,
)
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.experiments.given import Batch, load_batch, with_known_noise
from dipddpm.core.experiments.phases import Comparing, Phases, PriorTraining, Restoring
from dipddpm.core.experiments.priors import load_priors, prior_warnings
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.budget import Cost, Stopwatch, TimeBudget, baselines, clock_of

NOT_COMPARED = "There is no truth to compare with, so the baselines are not run."


class HybridExperiment:
    """A run that trains or loads a prior, restores degraded images with a hybrid, and scores it against the baselines.

    The baselines, DIP and the DDPM, get as many seconds as the hybrid took; they average the restarts or samples that
    they make in that time. The truth is for reporting only; without it there is no score, and no baseline. Images are
    of one size, and restored as one batch.
    """

    network = None

    def __init__(
        self,
        config: HybridRun,
        batch: Batch,
        device: torch.device | str,
        *,
        prior: tuple[TrainedModel, Sequence[PriorLoaded]] | None = None,
        training: Experiment | None = None,
    ) -> None:
        """Set up the phases; `training` trains the prior if none is given."""
        self.config = config
        self.truth = None if batch.truth is None else batch.truth.to(device)
        self.given = batch.given
        self.loaded = batch.loaded
        self.given_prior = prior
        self.training = training
        self._own_inputs: list[Input] = [*(prior[1] if prior else []), batch.loaded, *task_files_loaded(config.task)]
        case, self.found = with_known_noise(batch.case(config))
        """The case, and the noise that was found in given images."""
        self.case = case.to(device)
        self.clock = clock_of(self.case.y.device)
        self._prior_training = None if training is None else PriorTraining(training)
        untrained = self._as_model(training.network) if training is not None else prior and prior[0]
        self.restoring = Restoring(
            lambda: Stopwatch(partial(self._restorer, self._prior()), self.clock),
            len(self._restorer(untrained)),
            self.case,
            self.truth,
            config,
            given=self.given,
            score=self._score,
            prior_network=lambda: None if self.training is None else self._prior().network,  # type: ignore[union-attr]
        )
        names = () if self.truth is None else self._baselines(untrained, 1.0)
        self.comparing = [Comparing(name, partial(self._begin_baseline, name), self._score) for name in names]
        trained = [] if self._prior_training is None else [self._prior_training]
        self.phases = Phases([*trained, self.restoring, *self.comparing])

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Build the experiment. Raises UserError for images, data or a prior that are missing or incompatible."""
        if not config.hybrid.needs_prior:
            return cls(config, load_batch(config), device)
        if config.trains:
            training = DdpmExperiment.from_config(config, device)
            shape = training.sets[0].images.shape[1:]
            batch = load_batch(config, shape[0])
            refuse_other_shape(batch.shape(config), shape)
            return cls(config, batch, device, training=training)
        model, loaded = load_priors(config.prior, device)
        batch = load_batch(config, None if model.any_size else model.shape[0])
        if not model.any_size:
            refuse_other_shape(batch.shape(config), model.shape)
        return cls(config, batch, device, prior=(model, loaded))

    @property
    def inputs(self) -> Sequence[Input]:
        """The given prior, the images, the mask file and the images of the training, as far as there are any."""
        return [*self._own_inputs, *(self.training.inputs if self.training is not None else ())]

    @property
    def step(self) -> int:
        """Steps of the training, plus steps of the hybrid, plus hundredths of each baseline's time budget."""
        return self.phases.step

    @property
    def epoch(self) -> int:
        """Number of epochs that the prior has been trained for in this run."""
        return 0 if self.training is None else self.training.epoch

    def started(self) -> RunStarted:
        """Return totals and sizes; `parameters` counts the parameters of a prior that this run trains."""
        training = None if self.training is None else self.training.started()
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.case.y.device),
            epochs=training.epochs if training else 0,
            steps=len(self.phases),
            images=len(self.case.y),
            parameters=training.parameters if training else 0,
        )

    def __iter__(self) -> Iterator[Item]:
        if self.phases.finished:
            return
        if self.step == 0:
            yield from self._own_inputs
            if self.given_prior is not None:
                yield from prior_warnings(self.given_prior[0])
            elif isinstance(self.training, DdpmExperiment):
                yield from prior_warnings(self._as_model(self.training.network))
            if self.given is None:
                yield from file_messages(self.config.images, self.case.shape[1])
            else:
                yield from self.given.messages
                yield from self.found
            if self.truth is None:
                yield Message(text=NOT_COMPARED)
            measured = self.case.degradation.operator.measured(self.case.y)
            yield Tensors(name="measurement", tensors={"y": self.case.y, "measured": measured})
        yield from self.phases
        compared = [scored for phase in self.comparing for scored in phase.scored]
        board = Scoreboard([*self.restoring.scored, *compared])
        if headline := board.headline(self.step):
            yield headline
        yield from (Message(text=text) for text in board.verdicts())
        yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return self.phases.state_dict()

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.phases.load_state_dict(state)

    def _prior(self) -> TrainedModel | None:
        """Return the given prior, or the best model, not the last one, of this run's training; None without a prior."""
        if self._prior_training is None:
            return self.given_prior and self.given_prior[0]
        network = copy.deepcopy(self._prior_training.training.network)
        if self._prior_training.best is not None:
            network.load_state_dict(self._prior_training.best)
        return self._as_model(network.eval())

    def _as_model(self, network: torch.nn.Module) -> TrainedModel:
        device = self.case.y.device
        return TrainedModel(network, Schedule.from_config(self.config.ddpm, device), self.config.ddpm, device)

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        return hybrid_restorer(self.case, prior, self.config.hybrid, self.config.dip)

    def _baselines(self, prior: TrainedModel | None, seconds: float) -> dict[str, TimeBudget]:
        return baselines(self.case, prior, self.config.dip, budgets=[seconds], clock=self.clock)

    def _begin_baseline(self, name: str) -> TimeBudget:
        assert self.restoring.cost is not None
        return self._baselines(self._prior(), self.restoring.cost.seconds)[name]

    def _score(self, method: str, cost: Cost, step: int) -> RestorationScored:
        assert self.truth is not None
        return cost.scored(
            self.truth,
            task=format_task(self.config.task),
            method=method,
            set=self.loaded.dataset,
            seed=self.config.seed,
            budget_of="" if method in {self.config.method, POSTERIOR_MEAN} else self.config.method,
            step=step,
        )
