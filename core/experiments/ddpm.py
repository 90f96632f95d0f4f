"""A DDPM run from config to samples, as an experiment that the worker or a notebook iterates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from dipddpm.core import registry
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmRun, HybridRun
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import data_loaded, load_training, opening_events
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.sampling import CLIP_REMEDY, Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.sensitivity import Sensitivity
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.ddpm.training import DdpmTraining, InputTransform
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Input, Item, Message, Pictures, RunStarted, StateDict
from dipddpm.core.images import clip_visibly, to_unit
from dipddpm.core.metrics.samples import SampleEvaluator
from dipddpm.core.metrics.spread import Spread, drift_text, scale_each
from dipddpm.core.metrics.usable import count_unusable, unusable_text

MAX_SHOWN = 8
"""Number of images in the picture of the forward process."""
PREVIEW_STEPS = 20
"""Sampler steps of the previews during training; for the final samples, the config sets the number of steps."""


class DdpmExperiment:
    """A run that trains a noise predictor on images, then samples with its last weights or their moving average.

    Yields the data used, pictures of the first batch and of the forward process, the training's events, every few
    epochs a preview of samples, always from the same noise, and at the end a picture of the samples and, with an
    `evaluator`, their scores. In training and sampling, `input_transform` maps xt to the network's input.
    """

    network: nn.Module

    def __init__(
        self,
        config: DdpmRun | HybridRun,
        train: ImageSet,
        device: torch.device | str,
        *,
        validation: ImageSet | None = None,
        evaluator: SampleEvaluator | None = None,
        input_transform: InputTransform | None = None,
    ) -> None:
        options = config.ddpm
        _, channels, height, width = train.images.shape
        self.config = config
        self.sets = [train] if validation is None else [train, validation]
        self.schedule = Schedule.from_config(options, device)
        # Initialisation draws from torch's global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "network"))
            kind = registry.network(options.network)
            self.classes = len(train.classes) if options.conditional else 0
            self.network = kind.for_images((channels, height, width), config, self.classes).to(device)
        self.training = DdpmTraining(
            self.network,
            self.schedule,
            train.images.to(device),
            options,
            seed=derive(config.seed, "training"),
            labels=train.labels.to(device) if options.conditional else None,
            held_out=None if validation is None else validation.images.to(device),
            held_out_labels=validation.labels.to(device) if validation and options.conditional else None,
            input_transform=input_transform,
            process_group=ProcessGroup.current(),
        )
        self.evaluator = evaluator
        sample_count = max(options.samples, options.evaluate if evaluator else 0)
        self.sampling = Sampling(
            self._denoiser(sample_count),
            solver(options.sampler, options),
            (sample_count, channels, height, width),
            steps=options.sample_steps,
            device=device,
            seed=derive(config.seed, "samples"),
            first_step=len(self.training),
            epoch=options.epochs,
        )

    @classmethod
    def from_config(cls, config: DdpmRun | HybridRun, device: torch.device | str) -> Self:
        """Build the experiment.

        Raises UserError for data that is missing, too small, or doesn't suit the network or the evaluator.
        """
        train, validation = load_training(config.data, held_out=config.ddpm.hold_out)
        evaluator = SampleEvaluator.of(config.data, train) if config.ddpm.evaluate else None
        return cls(config, train, device, validation=validation, evaluator=evaluator)

    @property
    def inputs(self) -> Sequence[Input]:
        """The training images, the held-out images and, if samples are evaluated, the test images."""
        return list(map(data_loaded, self._used_sets))

    @property
    def step(self) -> int:
        """Optimiser steps, plus steps of the final sampler."""
        return self.training.step + self.sampling.steps_done

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.training.epoch

    def started(self) -> RunStarted:
        """Return totals and sizes; `parameters` counts the trained parameters."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.training.images.device),
            epochs=self.training.epochs,
            steps=len(self),
            images=len(self.training.images),
            parameters=sum(p.numel() for p in self.network.parameters() if p.requires_grad),
        )

    def __iter__(self) -> Iterator[Item]:
        if self.step == 0:
            first = self.training.batch()
            yield from opening_events(self._used_sets)
            yield Pictures(name="first-batch", images=_visible(first), title="The first batch", columns=16)
            yield self._forward_process(first[:MAX_SHOWN])
        options = self.config.ddpm
        for item in self.training:
            yield item
            if not isinstance(item, EpochFinished) or not (options.samples and options.sample_every):
                continue
            if self.epoch % options.sample_every == 0:
                preview = self._preview()
                drift = self._drift_text(preview.xt)
                if drift and self.epoch == options.sample_every and (why := self._blindness_text()):
                    yield Message(text=f"{drift} {why}", level="warning")
                yield from self._sample_pictures("progress", preview.xt, preview.nfe, drifted=bool(drift))
        if len(self.sampling.xt):
            for step in self.sampling:
                if self.sampling.steps_done == len(self.sampling):
                    yield from self._closing_items()
                yield step

    def __len__(self) -> int:
        return len(self.training) + (len(self.sampling) if len(self.sampling.xt) else 0)

    @property
    def _used_sets(self) -> list[ImageSet]:
        return [*self.sets, *([self.evaluator.test] if self.evaluator else [])]

    def _closing_items(self) -> Iterator[Item]:
        """Yield the picture of the final samples, and their evaluation.

        Raises UserError if no sample is an image.
        """
        options, images, nfe = self.config.ddpm, _visible(self.sampling.xt), self.sampling.nfe
        problem = unusable_text(self.sampling.xt, "samples")
        none_usable = count_unusable(self.sampling.xt) == len(images)
        if problem and not none_usable:
            yield Message(text=f"{problem}. {CLIP_REMEDY}", level="warning")
        drift = self._drift_text(self.sampling.xt)
        if drift:
            shown = "A second picture shows each sample scaled to its own range." if options.samples else ""
            yield Message(text=" ".join(filter(None, (drift, self._blindness_text(), shown))), level="warning")
        if options.samples:
            samples = self.sampling.xt[: options.samples]
            yield from self._sample_pictures("samples", samples, nfe, drifted=bool(drift))
        if none_usable:
            raise UserError(f"{problem}.", f"{CLIP_REMEDY} The trained model is stored.")
        if self.evaluator is not None:
            yield from self.evaluator(images[: options.evaluate], seed=self.config.seed, step=self.step, nfe=nfe)

    def _drift_text(self, xt: Tensor) -> str:
        """Say how far samples are from the range of the training images; "" if they aren't far."""
        return drift_text(xt, Spread.of_training(self.sets[0].images))

    def _blindness_text(self) -> str:
        """Say that the network can't see the brightness or the contrast of its input; "" if it can see both."""
        measured = Sensitivity.of(self.training.averaged, self.sampling.xt.shape[1:], len(self.schedule))
        return measured.text(self.config.ddpm.network)

    def _sample_pictures(self, name: str, xt: Tensor, nfe: int, *, drifted: bool) -> Iterator[Pictures]:
        """Yield the picture of samples, and if they have left the range of images, a second one that shows them."""
        title, numbered = f"Samples after epoch {self.epoch} (nfe {nfe})", name == "progress"
        true_range = f"{title}, in true range: clipped to black and white" if drifted else title
        yield Pictures(name=name, images=_visible(xt), step=self.step, title=true_range, numbered=numbered)
        if drifted:
            own_range = f"{title}, each scaled to its own range"
            if self.config.ddpm.network == "tutorial":
                own_range += ", as the published code shows them"
            scaled = scale_each(xt)
            yield Pictures(name=f"{name}-scaled", images=scaled, step=self.step, title=own_range, numbered=numbered)

    def _denoiser(self, count: int) -> Denoiser:
        """Return a denoiser for `count` images, with the averaged weights; images take the classes in turn."""
        device = self.training.images.device
        return Denoiser(
            self.training.averaged,
            self.schedule,
            objective=self.config.ddpm.objective,
            label=torch.arange(count, device=device) % self.classes if self.classes else None,
            input_transform=self.training.input_transform,
        )

    def _preview(self) -> Sampling:
        """Draw samples by DPM-Solver++, always from the same noise, without any effect on the training."""
        options = self.config.ddpm
        preview = Sampling(
            self._denoiser(options.samples),
            solver("dpm++"),
            (options.samples, *self.sampling.xt.shape[1:]),
            steps=min(PREVIEW_STEPS, len(self.schedule)),
            device=self.sampling.xt.device,
            seed=derive(self.config.seed, "samples"),
        )
        for _ in preview:
            pass
        self.network.train()
        return preview

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {**self.training.state_dict(), "sampling": self.sampling.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.training.load_state_dict(state)
        # If the run is extended by further epochs, its samples are drawn again after them.
        if self.training.epoch == self.training.epochs:
            self.sampling.load_state_dict(state["sampling"])

    def _forward_process(self, x0: Tensor) -> Pictures:
        """Draw a row for each image: x0, then xt at 25, 50, 75 and 100% of the timesteps."""
        generator = torch.Generator(x0.device).manual_seed(derive(self.config.seed, "pictures"))
        eps = torch.randn(x0.shape, generator=generator, device=x0.device)
        times = [max(len(self.schedule) * percent // 100, 1) - 1 for percent in (25, 50, 75, 100)]
        stages = [x0, *(self.schedule.add_noise(x0, eps, t) for t in times)]
        return Pictures(
            name="forward-process",
            images=_visible(torch.stack(stages, 1).flatten(0, 1)),
            title="The forward process",
            columns=len(stages),
            panels=("x0", *(f"t = {t}" for t in times)),
        )


def _visible(images: Tensor) -> Tensor:
    """Convert images from model space to [0, 1], clipped, for a picture."""
    return clip_visibly(to_unit(images))
