"""Expectation maximisation: train a network on restorations, restore the images with it, and train on these.

Rozet et al., "Learning Diffusion Priors from Observations by Expectation Maximization" (DiEM), NeurIPS 2024, is the
frame: each round trains on one posterior sample of each image, drawn by MMPS, from the weights of the round before.
EMDiffusion (Bai et al., 2024) begins at a network trained on 50 clean images, as `start=clean` does; SFBD-OMNI (ICLR
2026) names the start as what such a training lacks. Here are the differences:

- DiEM begins at samples of a Gaussian model, fitted to the measurements by EM; here DIP, a classic method, A+ y or a
  network of a few clean images restores the images first.
- There are few rounds of many steps, each with an optimiser, a warm-up and an average of weights of its own, rather
  than dozens of short ones.
- Round one trains on restorations rather than on samples, so its prior is too smooth where little is measured; the
  following rounds have to repair this.
- The clean images are used by the start alone. EMDiffusion adds them to the data of all rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

import msgspec
import torch
from torch import Tensor, nn

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun
from dipddpm.core.config.hybrid import DegradedOnly
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import data_loaded, opening_events
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import (
    BestModel,
    EpochFinished,
    Input,
    Item,
    Resumable,
    RunStarted,
    StageStarted,
    StateDict,
    Step,
    Tensors,
)
from dipddpm.core.experiments.degraded_only.rounds import Measured, Rounds
from dipddpm.core.experiments.degraded_only.start import ClosedFormStart
from dipddpm.core.experiments.dip_cache import DipResultBank
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.posterior_samples import PosteriorSamples

STARTS = {"dip": "DIP", "classic": "a classic method", "pinv": "A+ y", "clean": "a network of clean images"}
"""The start in a title, by its name."""


class Work(Resumable, Protocol):
    """The work of a stage, which counts its own steps from 0 and knows their number before it begins."""

    def __len__(self) -> int: ...


Finish: TypeAlias = Callable[[Any, int, int], Iterator[Item]]
"""Yields what follows from a result of a round; the other arguments are the round's number and the step."""


@dataclass(frozen=True)
class Stage:
    """A stage of a round, of which round 0 is the start: its title, its work, and what follows when it is finished."""

    round: int
    title: str
    make: Callable[[], Work]
    finish: Callable[[Any], Iterator[Item]]
    steps: int
    epochs: int = 0


class DegradedOnlyTraining:
    """The training of a network on measured images, in rounds; it never gets the true images.

    A round trains the network, restores the held-out images with it, draws new images and replaces the restorations of
    the training images by samples of their posteriors. `clean`, uint8 (M, C, H, W), are the clean images of the start
    `clean`; `reference` are real images to compare the new ones with. The network that a round leaves has the averaged
    weights, and the next round trains on from there. Resumes exactly.
    """

    def __init__(
        self,
        config: HybridRun,
        network: nn.Module,
        training: Measured,
        held_out: Measured,
        *,
        clean: Tensor | None = None,
        reference: ImageSet | None = None,
        sets: Sequence[ImageSet] = (),
    ) -> None:
        """Plan the stages; `sets` are the data sets that the run names. Raises UserError for an unknown noise level."""
        assert isinstance(config.hybrid, DegradedOnly)
        self.config, self.options, self.sets = config, config.hybrid, sets
        self.device = training.case.y.device
        self.network = network.to(self.device)
        self.schedule = Schedule.from_config(config.ddpm, self.device)
        self.training, self.held_out = training, held_out
        self.images = torch.zeros(training.case.shape, device=self.device)
        """The current restorations of the training images (N, C, H, W), in [0, 1] but not clipped."""
        self.rounds = Rounds(config, training, held_out, reference)
        self.stages = list(self._stages(clean))
        self._index = self._stage_step = 0
        self._work: Work | None = None

    @property
    def inputs(self) -> Sequence[Input]:
        """The data sets that the run names."""
        return list(map(data_loaded, self.sets))

    @property
    def step(self) -> int:
        """Number of steps done in all stages together."""
        return sum(stage.steps for stage in self.stages[: self._index]) + self._stage_step

    @property
    def epoch(self) -> int:
        """Number of finished epochs in all rounds together."""
        running = self._work.epoch if isinstance(self._work, DdpmTraining) else 0
        return self._epochs_before + running

    def __len__(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def started(self) -> RunStarted:
        """Return totals and sizes."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            epochs=sum(stage.epochs for stage in self.stages),
            steps=len(self),
            images=len(self.images),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )

    def __iter__(self) -> Iterator[Item]:
        if self.step == 0:
            yield from opening_events(self.sets)
        while self._index < len(self.stages):
            stage = self.stages[self._index]
            work = self._work = self._work or stage.make()
            if self._stage_step == 0:
                yield StageStarted(step=self.step, title=stage.title, stage=self._index + 1, stages=len(self.stages))
            before = self.step - self._stage_step
            for item in work:
                if isinstance(item, Step):
                    self._stage_step = item.step
                if not isinstance(item, BestModel):  # an epoch's loss doesn't compare the models of two rounds
                    yield self._placed(item, before)
            self._stage_step = stage.steps
            yield from stage.finish(work)
            self._work, self._index, self._stage_step = None, self._index + 1, 0
            yield Step(step=self.step, epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "index": self._index,
            "step": self._stage_step,
            "network": self.network.state_dict(),
            "images": self.images,
            "rounds": self.rounds.rows(),
            "work": self._work.state_dict() if self._work else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self._index, self._stage_step = state["index"], state["step"]
        self.network.load_state_dict(state["network"])
        self.images = state["images"].to(self.device)
        self.rounds.load_rows(state["rounds"])
        self._work = None
        if state["work"] is not None:
            self._work = self.stages[self._index].make()
            self._work.load_state_dict(state["work"])

    def replace_images(self, drawn: Tensor) -> None:
        """Train the next round on these restorations (N, C, H, W)."""
        self.images = drawn

    @property
    def model(self) -> TrainedModel:
        """The network with the weights of the last finished training."""
        return TrainedModel(self.network.eval(), self.schedule, self.config.ddpm, self.device)

    @property
    def round(self) -> int:
        """The number of the current round, of which 0 is the start; after the end, the last round's."""
        return self.stages[min(self._index, len(self.stages) - 1)].round

    @property
    def _epochs_before(self) -> int:
        return sum(stage.epochs for stage in self.stages[: self._index])

    def _placed(self, item: Item, before: int) -> Item:
        """Return an item of the current stage with the step and the epoch of the whole training."""
        item = shift_step(item, before)
        if isinstance(item, EpochFinished):
            return msgspec.structs.replace(item, epoch=self._epochs_before + item.epoch, best=False)
        return msgspec.structs.replace(item, epoch=self.epoch) if isinstance(item, Step) else item

    def _stages(self, clean: Tensor | None) -> Iterator[Stage]:
        """Yield the stages of the start, which is round 0, and of each round."""
        options = self.options
        samples, has_network = options.samples, options.start == "clean"
        for number in range(options.rounds + 1):
            title, by = f"Round {number} of {options.rounds}: ", ""
            if number == 0:
                title, by = "Start: ", f" by {STARTS[options.start]}"
            if number or has_network:
                yield self._training(f"{title}training", number, clean if number == 0 else None)
            held_out = f"{title}restoring {len(self.held_out.case.y):,} held-out images{by}"
            yield self._drawing(held_out, number, self.held_out.case, samples, self.rounds.finish_held_out)
            if self.rounds.new_images and (number or has_network):
                finish = partial(self._finish, self.rounds.finish_new, number)
                yield self._stage(number, f"{title}drawing new images", self._new_images, finish)
            training = f"{title}restoring {len(self.images):,} training images{by}"
            yield self._drawing(training, number, self.training.case, 1, self._finish_restoring)

    def _stage(
        self,
        number: int,
        title: str,
        make: Callable[[], Work],
        finish: Callable[[Any], Iterator[Item]],
        epochs: int = 0,
    ) -> Stage:
        # One more step ends the stage, so that its number isn't that of the work's last step, which has a loss.
        return Stage(number, title, make, finish, len(make()) + 1, epochs)

    def _training(self, title: str, number: int, clean: Tensor | None) -> Stage:
        """Return the training of a round, on `clean` images or on the current restorations, with equally many steps."""
        count = len(self.images)
        repeated = None if clean is None else clean.repeat(math.ceil(count / len(clean)), 1, 1, 1)[:count]

        def make() -> DdpmTraining:
            images = self.images if repeated is None else repeated.to(self.device)
            seed = derive(self.config.seed, f"round {number}")
            return DdpmTraining(self.network, self.schedule, images, self.config.ddpm, seed=seed)

        return self._stage(number, title, make, partial(self._finish_training, number), self.config.ddpm.epochs)

    def _drawing(self, title: str, number: int, case: Case, samples: int, finish: Finish) -> Stage:
        """Return the restoration of all images of a case, by the start in round 0 unless that is a network."""
        options, config = self.options, self.config

        def make() -> Work:
            if number or options.start == "clean":
                return PosteriorSamples(
                    replace(case, seed=derive(case.seed, f"round {number}")),
                    self.model,
                    method=options.sampler,
                    steps=options.steps,
                    samples=samples,
                )
            if options.start == "dip":
                return DipResultBank(case, config.task, config.dip, seed=derive(config.seed, "bank"))
            return ClosedFormStart(options.start, case, config.dip)

        return self._stage(number, title, make, partial(self._finish_drawing, finish, number))

    def _new_images(self) -> Sampling:
        ddpm = self.config.ddpm
        return Sampling(
            self.model.denoiser(),
            solver(ddpm.sampler, ddpm),
            (self.rounds.new_images, *self.training.case.shape[1:]),
            steps=ddpm.sample_steps,
            device=self.device,
            seed=derive(self.config.seed, "samples"),
        )

    def _finish(self, finish: Finish, number: int, result: Any) -> Iterator[Item]:
        yield from finish(result, number, self.step)

    def _finish_drawing(self, finish: Finish, number: int, work: Any) -> Iterator[Item]:
        images = work.images if isinstance(work, PosteriorSamples) else work.results.to(self.device)
        yield from finish(images, number, self.step)

    def _finish_training(self, number: int, work: DdpmTraining) -> Iterator[Item]:
        self.network.load_state_dict(work.averaged.state_dict())
        if number:
            measure = f"round {number}"
            yield BestModel(network=self.network, step=self.step, value=None, measure=measure, epoch=self.epoch)

    def _finish_restoring(self, images: Tensor, number: int, step: int) -> Iterator[Item]:
        self.replace_images(images)
        yield from self.rounds.finish_training(images, number, step)
        if number == self.options.rounds:
            yield Tensors(name="training-restored", tensors={"restored": images}, step=step)
