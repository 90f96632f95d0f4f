"""The training hybrid: a diffusion network that sees what a DIP made of the measurement, beside the noised image.

Unlike in the published hybrid, xt stays: nothing that the network is asked for has been taken from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun
from dipddpm.core.config.hybrid import Conditioned
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import data_loaded, load_batch, load_training
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.training import DdpmTraining
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, RunStarted, StateDict
from dipddpm.core.experiments.dip_cache import DipResultBank
from dipddpm.core.experiments.hybrid import HybridExperiment, refuse_other_size
from dipddpm.core.experiments.phases import Phases
from dipddpm.core.experiments.priors import load_prior
from dipddpm.core.images import to_model
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.budget import TimeBudget
from dipddpm.core.methods.conditioned import ConditionedRestorer, inherit_prior_options

HELD_OUT = 10
"""The bank to select the best model on is this many times smaller than that to train on."""


class ConditionedTraining:
    """Make a bank of DIP results for degraded training images, and train a network that sees them beside xt.

    It begins with the weights of the prior, where there is one, and sees nothing new at first. What it sees tells most
    where noise is high, and there the error of eps is next to nothing: the best model is the one with the least error
    of v on held-out images, and the errors of training had better be weighted as those of v. `beside = pinv` is the
    control: it sees A+ y of the same measurements instead, and no bank is made.
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
        self.banks = [DipResultBank(images, config.task, config.dip, seed=seed, device=device) for images in self.sets]
        channels, height, width = train.images.shape[1:]
        # Initialisation draws from torch's global generator, which is put back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(config.seed, "network"))
            network = UNet.for_images((channels, height, width), config) if prior is None else prior.network
            assert isinstance(network, UNet)
            self.network = network.with_cond_channels(channels).to(device)
        # Filled when the bank is there, before the first step.
        self.cond = [torch.zeros(images.images.shape, device=device) for images in self.sets]
        self.training = DdpmTraining(
            self.network,
            Schedule.from_config(ddpm, device),
            train.images.to(device),
            ddpm,
            seed=derive(config.seed, "training"),
            held_out=held_out.images.to(device),
            cond=self.cond[0],
            held_out_cond=self.cond[1],
            selection_objective="v",
        )
        self.bank_phases = Phases(self.banks if options.beside == "dip" else [])

    @property
    def step(self) -> int:
        """Iterations of the bank's fits, then optimiser steps."""
        return self.bank_phases.step + self.training.step

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.training.epoch

    def started(self) -> RunStarted:
        """Totals and sizes."""
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
            yield from map(data_loaded, self.sets)
        yield from self.bank_phases
        for cond, bank in zip(self.cond, self.banks, strict=True):
            cond.copy_(self._conditioning(bank))
        for item in self.training:
            yield shift_step(item, len(self.bank_phases))

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        return {"training": self.training.state_dict(), "banks": self.bank_phases.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called."""
        self.training.load_state_dict(state["training"])
        self.bank_phases.load_state_dict(state["banks"])

    def _conditioning(self, bank: DipResultBank) -> Tensor:
        """What the network sees beside the noised images of a bank, in model space."""
        if self.options.beside == "dip":
            return to_model(bank.results)
        case = bank.measurements()
        return to_model(case.degradation.operator.pinv(case.y))


class ConditionedExperiment(HybridExperiment):
    """Make the bank, train the network on it, restore with it, and score it against both parents.

    The DDPM parent is the prior that the training began with; without one there is only DIP to beat.
    """

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Raises UserError for images, data or a prior that are missing or don't go together."""
        options = config.hybrid
        assert isinstance(options, Conditioned)
        truth, labels, loaded = load_batch(config.images, config.data)
        prior = load_prior(config.prior.run, device) if config.prior.run else None
        model = prior[0] if prior else None
        if prior is None and config.ddpm.network != "unet":
            raise UserError("Only our U-Net can see more channels.", "Add --set ddpm.network=unet, or give a prior.")
        if prior is not None:
            if not isinstance(prior[0].network, UNet):
                raise UserError(f"The network of {prior[1].run} can't see more channels.", "Give a prior of our U-Net.")
            config = msgspec.structs.replace(config, ddpm=inherit_prior_options(config.ddpm, prior[0].options))
        train, validation = load_training(config.data, held_out=True)
        assert validation is not None
        if options.bank > len(train):
            problem = f"There are {len(train)} training images, too few for a bank of {options.bank}."
            raise UserError(problem, "Lower hybrid.bank.")
        train = train.take(range(options.bank))
        for known in (train.images.shape[1:], *([model.shape] if model else [])):
            refuse_other_size(truth.shape[1:], known)
        training = ConditionedTraining(config, options, train, validation, device, prior=model)
        return cls(config, truth, labels, loaded, device, prior=prior, training=training)

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        assert prior is not None
        assert isinstance(self.config.hybrid, Conditioned)
        return ConditionedRestorer(self.case, prior, self.config.hybrid, self.config.dip)

    def _baselines(self, prior: TrainedModel | None, seconds: float) -> dict[str, TimeBudget]:
        del prior  # it is the network that was trained here
        return super()._baselines(self.given_prior[0] if self.given_prior else None, seconds)
