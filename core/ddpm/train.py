"""Training of a noise predictor, as something that one iterates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.ddpm.schedule import Schedule
from core.errors import UserError
from core.events import BestModel, EpochFinished, Item, State, Step
from core.images import to_model

View: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What the network sees in place of xt: from xt (N, C, H, W) and t (N,) to a tensor like xt. No gradient passes it."""

READ_EVERY = 25
"""Steps between two looks at the loss on an accelerator, where each look waits for the device."""
MONITORED = 1_000
"""Held-out images that the loss is measured on: about 3% of the cost of an epoch of 60,000."""


class DdpmTraining:
    """Minimise |eps - network(xt, t)|^2 with t uniform, by Adam (Ho et al. 2020, algorithm 1 with L_simple, eq. 14).

    `images` is uint8 (N, C, H, W), on the device of the network and the schedule; an epoch takes them all, shuffled,
    the last batch being what is left. The best model is that of the epoch with the lowest mean training loss; with
    `held_out` images, of the lowest loss on up to 1,000 of those, always with the same noise and with t spread evenly.

    Every random draw comes from one generator of its own, so iterating on after `load_state_dict` gives the same
    numbers as never having stopped, bit for bit on a CPU. Raises UserError when the loss is no longer finite; nothing
    is yielded between the step at fault and the error, so that no checkpoint can be made of its weights.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        images: Tensor,
        *,
        epochs: int,
        batch_size: int = 128,
        lr: float = 1e-3,
        seed: int = 0,
        held_out: Tensor | None = None,
        view: View | None = None,
        read_every: int | None = None,
    ) -> None:
        if len(images) == 0:
            raise ValueError("there are no images to train on")
        self.network = network.train()
        self.schedule = schedule
        self.images = images
        self.epochs = epochs
        self.batch_size = batch_size
        self.held_out = None if held_out is None else held_out[:MONITORED]
        self.view = view
        self.read_every = read_every or (1 if images.device.type == "cpu" else READ_EVERY)
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=lr, fused=images.device.type in {"cpu", "cuda"})
        self.seed = seed
        self.generator = torch.Generator(images.device).manual_seed(seed)
        self.step = 0
        self.epoch = 0
        """Epochs finished."""
        self.best = math.inf
        self.best_epoch = 0
        self._shuffle()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch, the last smaller batch included."""
        return math.ceil(len(self.images) / self.batch_size)

    @property
    def lr(self) -> float:
        """Adam's learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __iter__(self) -> Iterator[Item]:
        # Each yield comes after the state has moved past it, so that what follows depends on the state alone.
        while self.epoch < self.epochs:
            self._clock = time.perf_counter()
            while self._taken < len(self.images):
                yield self._advance()
            yield from self._finish_epoch()

    def batch(self) -> Tensor:
        """The images of the next step: model space, shape (n, C, H, W)."""
        return to_model(self.images[self._order[self._taken : self._taken + self.batch_size]])

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items, and to be stored before the next one."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "generator_before_shuffle": self._before_shuffle,
            "step": self.step,
            "epoch": self.epoch,
            "taken": self._taken,
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, with the same images and options."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator_before_shuffle"].cpu())
        self._shuffle()
        self.generator.set_state(state["generator"].cpu())
        self.step, self.epoch = state["step"], state["epoch"]
        self._taken, self._loss_sum, self._seconds = state["taken"], state["loss_sum"], state["seconds"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def _shuffle(self) -> None:
        """Begin an epoch. What drew the order is kept rather than the order: 5 kB and not 480."""
        self._before_shuffle = self.generator.get_state()
        self._order = torch.randperm(len(self.images), generator=self.generator, device=self.images.device)
        self._taken = 0
        self._loss_sum = 0.0
        self._seconds = 0.0

    def _advance(self) -> Step:
        """Optimiser steps up to the next look at the loss."""
        before = self._taken
        losses = torch.zeros((), device=self.images.device)
        for _ in range(self.read_every):
            x0 = self.batch()
            losses += self._update(x0) * len(x0)
            self._taken += len(x0)
            self.step += 1
            if self._taken == len(self.images):
                break
        count = self._taken - before
        loss_sum = losses.item()
        if not math.isfinite(loss_sum):
            raise UserError(
                f"The loss became {loss_sum} at step {self.step}, in epoch {self.epoch + 1}.",
                "Lower the learning rate (ddpm.lr) and run again; the best model so far is kept.",
            )
        self._loss_sum += loss_sum
        seconds = self._lap()
        return Step(
            step=self.step,
            epoch=self.epoch + 1,
            loss=loss_sum / count,
            lr=self.lr,
            images_per_second=count / seconds,
        )

    def _update(self, x0: Tensor) -> Tensor:
        """One optimiser step on a batch; returns its mean loss, still on the device."""
        t = torch.randint(len(self.schedule), x0.shape[:1], generator=self.generator, device=x0.device)
        loss = self._loss(x0, t, self.generator)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def _loss(self, x0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        eps = torch.randn(x0.shape, generator=generator, device=x0.device)
        xt = self.schedule.add_noise(x0, eps, t)
        seen = xt if self.view is None else self.view(xt, t).detach()
        return F.mse_loss(self.network(seen, t), eps)

    def _finish_epoch(self) -> Iterator[Item]:
        epoch, count = self.epoch + 1, len(self.images)
        loss = self._loss_sum / count
        held_out = None if self.held_out is None else self._held_out_loss(self.held_out)
        value, measure = (loss, "loss") if held_out is None else (held_out, "held_out")
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            yield BestModel(network=self.network, step=self.step, value=value, measure=measure, epoch=epoch)
        self._lap()
        finished = EpochFinished(
            epoch=epoch,
            step=self.step,
            loss=loss,
            best=self.best_epoch == epoch,
            held_out=held_out,
            lr=self.lr,
            seconds=self._seconds,
            images_per_second=count / self._seconds,
        )
        self.epoch = epoch
        self._shuffle()
        yield finished

    @torch.no_grad()
    def _held_out_loss(self, images: Tensor) -> float:
        """Mean loss with the same noise every time, and with the timesteps spread evenly over the images."""
        generator = torch.Generator(images.device).manual_seed(self.seed)
        times = torch.arange(len(images), device=images.device) * len(self.schedule) // len(images)
        self.network.eval()
        total = 0.0
        for batch, t in zip(*(torch.split(a, self.batch_size) for a in (images, times)), strict=True):
            total += self._loss(to_model(batch), t, generator).item() * len(batch)
        self.network.train()
        return total / len(images)

    def _lap(self) -> float:
        """Seconds since the last call, which are added to those of the epoch."""
        now = time.perf_counter()
        seconds = now - self._clock
        self._clock = now
        self._seconds += seconds
        return seconds
