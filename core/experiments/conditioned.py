"""The training hybrid: a diffusion network that is conditioned on DIP's result for the measurement.

Unlike in the published hybrid, the network still gets xt, so its input still contains the noise that it must predict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.config.shapes import refuse_other_shape
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import data_loaded, load_training, opening_events
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.errors import UserError
from dipddpm.core.events import Input, Item, RunStarted, StateDict
from dipddpm.core.experiments.dip_cache import DipResultBank, measure
from dipddpm.core.experiments.given import load_batch
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.experiments.phases import Phases
from dipddpm.core.experiments.priors import load_prior
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.budget import TimeBudget
from dipddpm.core.methods.conditioned import ConditionedRestorer, inherit_prior_options
from dipddpm.core.methods.starts import noise_levels, normalize

HELD_OUT = 10
"""Ratio of the training bank's size to the size of the held-out bank, on which the best model is selected."""


class ConditionedTraining:
    """The training of a network that is conditioned on a bank of DIP results for degraded training images.

    The network starts with the weights of the prior, if there is one; at first the new input channels have no effect.
    The conditioning is most informative at high noise levels, where the error of eps is close to 0. So the best model
    is the one with the smallest error of v on held-out images, and training should weight its errors as those of v.
    With `beside = pinv`, the control, the network is conditioned on A+ y of the same measurements, and no bank is made.
    """

    def __init__(
        self,
        config: HybridRun,
        options: Conditioned,
        train: ImageSet,
        validation: ImageSet,
        device: torch.device | str,
        *,
        prior: TrainedModel | None = None,
    ) -> None:
        self.config, self.options, self.device = config, options, torch.device(device)
        ddpm = config.ddpm
        seed = derive(config.seed, "bank")
        held_out = validation.take(range(min(len(validation), -(-len(train) // HELD_OUT))))
        self.sets = (train, held_out)
        self.cases = [measure(images, config.task, seed, device) for images in self.sets]
        self.banks = [DipResultBank(case, config.task, config.dip, seed=seed) for case in self.cases]
        channels, height, width = train.images.shape[1:]
        # Initialisation draws from torch's global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "network"))
            network = UNet.for_images((channels, height, width), config) if prior is None else prior.network
            assert isinstance(network, UNet)
            self.network = network.with_cond_channels(channels).to(device)
        # Filled once the bank is complete, before the first step of the training.
        self.cond = [torch.zeros(images.images.shape, device=device) for images in self.sets]
        if options.normalized:  # filled together with the conditioning images
            self.targets = [torch.zeros_like(cond) for cond in self.cond]
        else:
            self.targets = [images.images.to(device) for images in self.sets]
        self.training = DdpmTraining(
            self.network,
            Schedule.from_config(ddpm, device),
            self.targets[0],
            ddpm,
            seed=derive(config.seed, "training"),
            held_out=self.targets[1],
            cond=self.cond[0],
            held_out_cond=self.cond[1],
            selection_objective="v",
        )
        self.bank_phases = Phases(self.banks if options.conditioning == "dip" else [])

    @property
    def inputs(self) -> Sequence[Input]:
        """The images of the bank and of the held-out bank."""
        return list(map(data_loaded, self.sets))

    @property
    def step(self) -> int:
        """Iterations of the bank's fits, plus optimiser steps of the training."""
        return self.bank_phases.step + self.training.step

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.training.epoch

    def started(self) -> RunStarted:
        """Return totals and sizes."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            epochs=self.training.epochs,
            steps=len(self.bank_phases) + len(self.training),
            images=len(self.sets[0]),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )

    def __iter__(self) -> Iterator[Item]:
        if self.step == 0:
            yield from opening_events(self.sets)
        yield from self.bank_phases
        for cond, target, bank, images in zip(self.cond, self.targets, self.banks, self.sets, strict=True):
            cond.copy_(self._conditioning(bank))
            if self.options.normalized:
                target.copy_(self._normalized(bank.case, images, to_unit(cond)))
        for item in self.training:
            yield shift_step(item, len(self.bank_phases))

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {"training": self.training.state_dict(), "banks": self.bank_phases.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.training.load_state_dict(state["training"])
        self.bank_phases.load_state_dict(state["banks"])

    def _normalized(self, case: Case, truth: ImageSet, start: Tensor) -> Tensor:
        """Return the images minus `start`, in units of its estimated error, on the scale [0, 1] of model space."""
        known = replace(case, degradation=with_noise_level(case.y, case.degradation))
        images = to_unit(truth.images.to(self.device))
        return to_unit(normalize(images, start, noise_levels(known, start)))

    def _conditioning(self, bank: DipResultBank) -> Tensor:
        """Return the conditioning images of a bank, in model space."""
        if self.options.conditioning == "dip":
            return to_model(bank.results)
        return to_model(bank.case.degradation.operator.pinv(bank.case.y))


class ConditionedExperiment(HybridExperiment):
    """A run that makes the bank, trains the network on it, restores with it, and scores it against both baselines.

    The DDPM baseline is the prior that the training started from; without a prior, DIP is the only baseline.
    """

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Build the experiment. Raises UserError for images, data or a prior that are missing or incompatible."""
        options = config.hybrid
        assert isinstance(options, Conditioned)
        prior = load_prior(config.prior.run, device) if config.prior.run else None
        model = prior[0] if prior else None
        if prior is None and config.ddpm.network != "unet":
            raise UserError(
                "Only the U-Net can take conditioning images as input.",
                "Add --set ddpm.network=unet, or name a run with a U-Net as prior with --from.",
            )
        if prior is not None:
            if not isinstance(prior[0].network, UNet):
                raise UserError(
                    f"The network of {prior[1].run} can't take conditioning images as input.",
                    "With --from, name a run that trained a U-Net.",
                )
            config = msgspec.structs.replace(config, ddpm=inherit_prior_options(config.ddpm, prior[0].options))
        train, validation = load_training(config.data, held_out=True)
        assert validation is not None
        if options.bank > len(train):
            problem = f"There are only {len(train)} training images, too few for a bank of {options.bank}."
            raise UserError(problem, f"Lower hybrid.bank to {len(train)} or less.")
        train = train.take(range(options.bank))
        batch = load_batch(config, train.images.shape[1])
        for known in (train.images.shape[1:], *([model.shape] if model else [])):
            refuse_other_shape(batch.shape(config), known)
        training = ConditionedTraining(config, options, train, validation, device, prior=model)
        given = (prior[0], [prior[1]]) if prior else None
        return cls(config, batch, device, prior=given, training=training)

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        assert prior is not None
        assert isinstance(self.config.hybrid, Conditioned)
        return ConditionedRestorer(self.case, prior, self.config.hybrid, self.config.dip)

    def _baselines(self, prior: TrainedModel | None, seconds: float) -> dict[str, TimeBudget]:
        del prior  # the conditioned network, which this run has trained, is no baseline
        return super()._baselines(self.given_prior[0] if self.given_prior else None, seconds)
