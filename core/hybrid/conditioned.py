"""The training hybrid: a diffusion network that sees what a DIP made of the measurement, beside the noised image.

Unlike in the published hybrid, xt stays: nothing that the network is asked for has been taken from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import msgspec
import torch
from torch import Tensor

from core.config import HybridRun
from core.config.hybrid import Conditioned
from core.data import ImageSet
from core.ddpm.recipe import Recipe
from core.ddpm.run import training_images
from core.ddpm.schedule import Schedule
from core.ddpm.train import DdpmTraining
from core.ddpm.trained import TrainedModel
from core.ddpm.unet import UNet
from core.dip.run import true_images
from core.errors import UserError
from core.events import DataLoaded, Item, PriorLoaded, RunStarted, State
from core.hybrid.bank import Bank
from core.hybrid.conditioned_restorer import ConditionedRestorer, settled
from core.hybrid.equal_time import parents
from core.hybrid.parents import later
from core.hybrid.prior import load_prior
from core.hybrid.restorer import Restorer
from core.hybrid.run import HybridExperiment, refuse_other_size
from core.hybrid.timed import Budgeted
from core.images import to_model
from core.seeds import derive

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
        few = validation.take(range(min(len(validation), -(-len(train) // HELD_OUT))))
        self.banks = [Bank(images, config.task, config.dip, seed=seed, device=device) for images in (train, few)]
        channels, height, width = train.images.shape[1:]
        if prior is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(config.seed, "network"))
                self.network = UNet.for_images((channels, height, width), config).seeing_more(channels).to(device)
        else:
            assert isinstance(prior.network, UNet)
            self.network = prior.network.seeing_more(channels).to(device)
        shapes = (len(images) for images in (train, few))
        # Filled when the bank is there, before the first step.
        self.beside = [torch.zeros(count, channels, height, width, device=device) for count in shapes]
        self.training = DdpmTraining(
            self.network,
            Schedule.from_config(ddpm, device),
            train.images.to(device),
            epochs=ddpm.epochs,
            batch_size=ddpm.batch_size,
            lr=ddpm.lr,
            seed=derive(config.seed, "training"),
            recipe=Recipe.from_config(ddpm),
            held_out=few.images.to(device),
            beside=self.beside[0],
            held_out_beside=self.beside[1],
            selected_by="v",
        )
        self.sets = (train, few)
        self._opened = 0

    @property
    def step(self) -> int:
        """Iterations of the bank's fits, then optimiser steps."""
        return self._made + self.training.step

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
            steps=self._planned + self.training.epochs * self.training.steps_per_epoch,
            images=len(self.sets[0]),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )

    def __iter__(self) -> Iterator[Item]:
        for loaded in self._opening()[self._opened :]:
            self._opened += 1
            yield loaded
        if self.options.beside == "dip":
            first, second = self.banks
            yield from first
            yield from (later(item, len(first)) for item in second)
        for seen, bank in zip(self.beside, self.banks, strict=True):
            seen.copy_(self._seen(bank))
        for item in self.training:
            step = getattr(item, "step", 0)
            yield msgspec.structs.replace(item, step=self._planned + step) if step else item

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        return {
            **self.training.state_dict(),
            "banks": [bank.state_dict() for bank in self.banks],
            "opened": self._opened,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called."""
        self.training.load_state_dict(state)
        for bank, its_state in zip(self.banks, state["banks"], strict=True):
            bank.load_state_dict(its_state)
        self._opened = state["opened"]

    @property
    def _made(self) -> int:
        return sum(bank.step for bank in self.banks)

    @property
    def _planned(self) -> int:
        return sum(map(len, self.banks)) if self.options.beside == "dip" else 0

    def _opening(self) -> list[DataLoaded]:
        return [
            DataLoaded(dataset=s.name, split=s.split, images=len(s), sha256=s.sha256, source=s.source)
            for s in self.sets
        ]

    def _seen(self, bank: Bank) -> Tensor:
        """What the network sees beside the noised images of a bank, in model space."""
        if self.options.beside == "dip":
            return to_model(bank.results)
        y, degradation = bank.measured()
        return to_model(degradation.operator.pinv(y))


class ConditionedExperiment(HybridExperiment):
    """Make the bank, train the network on it, restore with it, and score it against both parents.

    The DDPM parent is the prior that the training began with; without one there is only DIP to beat.
    """

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Raises UserError for images, data or a prior that are missing or don't go together."""
        options = config.hybrid
        assert isinstance(options, Conditioned)
        images, labels, loaded = true_images(config.images, config.data)
        if len({image.shape for image in images}) > 1:
            raise UserError("The images differ in size; a hybrid restores them as one batch.", "Give one size at once.")
        truth = torch.stack(images).to(device)
        prior = load_prior(config.prior.run, device) if config.prior.run else None
        if prior is None and config.ddpm.network != "unet":
            raise UserError("Only our U-Net can see more channels.", "Add --set ddpm.network=unet, or give a prior.")
        if prior is not None:
            config = _as_the_prior(config, prior)
        train, validation = training_images(config.data, hold_out=True)
        assert validation is not None
        if options.bank > len(train):
            problem = f"There are {len(train)} training images, too few for a bank of {options.bank}."
            raise UserError(problem, "Lower hybrid.bank.")
        train = train.take(range(options.bank))
        for known in (train.images.shape[1:], *([prior[0].shape] if prior else [])):
            refuse_other_size(tuple(truth.shape[1:]), tuple(known))
        model = prior[0] if prior else None
        training = ConditionedTraining(config, options, train, validation, device, prior=model)
        return cls(config, truth, labels, loaded, prior=prior, training=training)

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        assert prior is not None
        assert isinstance(self.config.hybrid, Conditioned)
        return ConditionedRestorer(self.case, prior, self.config.hybrid, self.config.dip)

    def _new_rivals(self, seconds: float) -> dict[str, Budgeted]:
        plain = self.given[0] if self.given else None
        return parents(self.case, plain, self.config.dip, budgets=[seconds], clock=self.clock)


def _as_the_prior(config: HybridRun, prior: tuple[TrainedModel, PriorLoaded]) -> HybridRun:
    """The config with all that the weights of a prior settle. Raises UserError for a network that can't see more."""
    model, loaded = prior
    if not isinstance(model.network, UNet):
        raise UserError(f"The network of {loaded.run} can't see more channels.", "Give a prior of our U-Net.")
    return msgspec.structs.replace(config, ddpm=settled(config.ddpm, model.options))
