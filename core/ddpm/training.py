"""Training of a noise predictor, as something that one iterates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config.ddpm import DdpmConfig, Objective
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.ema import Ema
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.validation import Validator
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, EpochFinished, Item, StateDict, Step
from dipddpm.core.images import to_model

InputTransform: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""What the network sees in place of xt: from xt (N, C, H, W) and t (N,) to a tensor like xt. No gradient passes it."""

READ_EVERY = 25
"""Steps between two looks at the loss on an accelerator, where each look waits for the device."""


class DdpmTraining:
    """Minimise |eps - network(xt, t)|^2 with t uniform, by Adam (Ho et al. 2020, algorithm 1 with L_simple, eq. 14).

    `images` is uint8 (N, C, H, W), on the device of the network and the schedule; an epoch takes them all, shuffled,
    the last batch being what is left. `options` say how: what is predicted, weights, averaging and more. The best
    model is that of the epoch with the lowest mean training loss; with `held_out` images, of the lowest error of
    `selection_objective` on up to 1,000 of those, of the averaged weights where there are any. Each epoch reports the
    error of eps by timestep band too: on the first training images where none are held out, and not at all where these
    would pass an `input_transform`, which has a memory. What belongs to the end of an epoch comes before the `Step`
    that ends it. `labels` and `held_out_labels`, int64 (N,), are for networks that know classes; `cond` and
    `held_out_cond`, (N, C', H, W), for those that see more channels beside xt.

    Every random draw comes from one generator of its own, so iterating on after `load_state_dict` gives the same
    numbers as never having stopped, bit for bit on a CPU. Where several processes share the training
    (`process_group`), each sees its part of every batch, and the losses are those of one process but for rounding.
    Raises UserError when the loss is no longer finite; nothing is yielded between the step at fault and the error, so
    that no checkpoint can be made of its weights.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        images: Tensor,
        options: DdpmConfig,
        *,
        seed: int = 0,
        labels: Tensor | None = None,
        held_out: Tensor | None = None,
        held_out_labels: Tensor | None = None,
        cond: Tensor | None = None,
        held_out_cond: Tensor | None = None,
        selection_objective: Objective = "eps",
        input_transform: InputTransform | None = None,
        read_every: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        if len(images) == 0:
            raise ValueError("there are no images to train on")
        self.network = network.train()
        self.schedule = schedule
        self.images = images
        self.options = options
        self.epochs = options.epochs
        self.labels = labels
        self.cond = cond
        self.input_transform = input_transform
        self.process_group = process_group or ProcessGroup()
        self.read_every = read_every or (1 if images.device.type == "cpu" else READ_EVERY)
        parameters = [p for p in network.parameters() if p.requires_grad]
        betas, fused = (0.9, options.beta2), images.device.type in {"cpu", "cuda"}
        self.optimizer = torch.optim.Adam(parameters, lr=options.lr, betas=betas, fused=fused)
        self.ema = Ema(network, options.ema) if options.ema else None
        self.has_held_out = held_out is not None
        """Whether the best model is chosen on held-out images."""
        if held_out is None:
            held_out, held_out_labels, held_out_cond = images, labels, cond
        self.validator = Validator(schedule, held_out, seed=seed, objective=selection_objective)
        count = len(self.validator.images)
        self._denoiser = Denoiser(
            self.averaged,
            schedule,
            objective=options.objective,
            label=None if held_out_labels is None else held_out_labels[:count],
            input_transform=input_transform,
            cond=None if held_out_cond is None else held_out_cond[:count],
        )
        # Each size of batch is compiled for itself: there are few, and symbolic sizes cost speed and fail on some nets.
        wrapped = self.process_group.wrap(network)
        self._forward: Callable[..., Tensor] = wrapped
        if options.compile:
            self._forward = torch.compile(wrapped, dynamic=False, mode=options.compile_mode)
        table = schedule.loss_weights(options.objective, options.weighting)
        self._weights = None if table is None else table.to(images.device)
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
        return math.ceil(len(self.images) / self.options.batch_size)

    @property
    def averaged(self) -> nn.Module:
        """The network with the averaged weights, where they are averaged, else the network."""
        return self.network if self.ema is None else self.ema.network

    @property
    def lr(self) -> float:
        """Adam's learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __iter__(self) -> Iterator[Item]:
        while self.epoch < self.epochs:
            self._clock = time.perf_counter()
            epoch_done = False
            while not epoch_done:
                step = self._train_steps()
                epoch_done = self._images_seen == len(self.images)
                if epoch_done:
                    yield from self._finish_epoch()
                yield step

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch

    def batch(self) -> Tensor:
        """The images of the next step: model space, shape (n, C, H, W)."""
        return to_model(self.images[self._batch_indices])

    @property
    def _batch_indices(self) -> Tensor:
        """Places of the images of the next step, int64 (n,)."""
        return self._order[self._images_seen : self._images_seen + self.options.batch_size]

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`, and to be stored before the next item."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "generator_before_shuffle": self._before_shuffle,
            "step": self.step,
            "epoch": self.epoch,
            "taken": self._images_seen,
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, with the same images and options."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator_before_shuffle"].cpu())
        self._shuffle()
        self.generator.set_state(state["generator"].cpu())
        self.step, self.epoch = state["step"], state["epoch"]
        self._images_seen, self._loss_sum, self._seconds = state["taken"], state["loss_sum"], state["seconds"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])

    def _shuffle(self) -> None:
        """Begin an epoch. What drew the order is kept rather than the order: 5 kB and not 480."""
        self._before_shuffle = self.generator.get_state()
        self._order = torch.randperm(len(self.images), generator=self.generator, device=self.images.device)
        self._images_seen = 0
        self._loss_sum = 0.0
        self._seconds = 0.0

    def _train_steps(self) -> Step:
        """Optimiser steps up to the next look at the loss."""
        seen_before = self._images_seen
        losses = torch.zeros((), device=self.images.device)
        for _ in range(self.read_every):
            x0 = self.batch()
            losses += self._update(x0, self._batch_labels()) * len(x0)
            self._images_seen += len(x0)
            self.step += 1
            if self._images_seen == len(self.images):
                break
        count = self._images_seen - seen_before
        loss_sum = self.process_group.all_reduce_sum(losses).item()
        if not math.isfinite(loss_sum):
            problem = f"The loss became {loss_sum} at step {self.step}, in epoch {self.epoch + 1}."
            raise UserError(problem, "Lower the learning rate (ddpm.lr) and run again; the best model so far is kept.")
        self._loss_sum += loss_sum
        seconds = self._lap()
        return Step(
            step=self.step,
            epoch=self.epoch + 1,
            loss=loss_sum / count,
            lr=self.lr,
            images_per_second=count / seconds,
        )

    def _update(self, x0: Tensor, label: Tensor | None) -> Tensor:
        """One optimiser step on a batch; returns its mean loss, still on the device, or this rank's share of that."""
        loss = self._loss(x0, self._draw_times(len(x0)), label)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.options.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.lr * lr_factor(self.options, self.step, len(self))
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network)
        return loss.detach() / self.process_group.world_size

    def _draw_times(self, count: int) -> Tensor:
        """A timestep for each image: uniform, and stratified one in each of `count` equal parts, moved together."""
        length, generator, device = len(self.schedule), self.generator, self.images.device
        if not self.options.stratified:
            return torch.randint(length, (count,), generator=generator, device=device)
        offset = torch.rand(1, generator=generator, device=device)
        return (((torch.arange(count, device=device) + offset) / count) * length).long().clamp(max=length - 1)

    def _batch_labels(self) -> Tensor | None:
        """The labels of the next step, some of them left out."""
        if self.labels is None:
            return None
        label = self.labels[self._batch_indices]
        left_out = torch.rand(label.shape, generator=self.generator, device=label.device) < self.options.label_dropout
        return label.masked_fill(left_out, int(self.network.classes))  # type: ignore[arg-type]

    def _loss(self, x0: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        eps = torch.randn(x0.shape, generator=self.generator, device=x0.device)
        whole, shard = len(x0), self.process_group.shard(len(x0))
        x0, eps, t, label = x0[shard], eps[shard], t[shard], None if label is None else label[shard]
        xt = self.schedule.add_noise(x0, eps, t)
        inputs = xt if self.input_transform is None else self.input_transform(xt, t).detach()
        if self.cond is not None:
            inputs = torch.cat([inputs, self.cond[self._batch_indices[shard]]], 1)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            predicted = self._forward(inputs, t) if label is None else self._forward(inputs, t, label)
        expected = self.schedule.target(self.options.objective, x0, eps, t)
        if self._weights is None and self.process_group.world_size == 1:
            return F.mse_loss(predicted.float(), expected)
        errors = (predicted.float() - expected).square().flatten(1).mean(1)
        if self._weights is not None:
            errors = errors * self._weights[t]
        # Gradients are averaged over the ranks, whose parts may differ in size, and may be empty in a last small batch.
        loss: Tensor = errors.sum() * (self.process_group.world_size / whole)
        return loss

    def _finish_epoch(self) -> Iterator[Item]:
        epoch, count = self.epoch + 1, len(self.images)
        loss = self._loss_sum / count
        error, bands = self._validate()
        held_out = error if self.has_held_out else None
        value, measure = (loss, "loss") if held_out is None else (held_out, "held_out")
        value = self.process_group.broadcast(value, self.images.device)
        if value < self.best:
            self.best, self.best_epoch = value, epoch
            yield BestModel(network=self.averaged, step=self.step, value=value, measure=measure, epoch=epoch)
        self._lap()
        finished = EpochFinished(
            epoch=epoch,
            step=self.step,
            loss=loss,
            best=self.best_epoch == epoch,
            held_out=held_out,
            bands=bands,
            lr=self.lr,
            seconds=self._seconds,
            images_per_second=count / self._seconds,
        )
        self.epoch = epoch
        self._shuffle()
        yield finished

    def _validate(self) -> tuple[float | None, list[float]]:
        """The error at the end of an epoch, and that of eps by timestep band."""
        if self.input_transform is not None and not self.has_held_out:
            return None, []
        self.averaged.eval()
        measured = self.validator.measure(self._denoiser)
        self.network.train()
        return measured

    def _lap(self) -> float:
        """Seconds since the last call, which are added to those of the epoch."""
        now = time.perf_counter()
        seconds = now - self._clock
        self._clock = now
        self._seconds += seconds
        return seconds


def lr_factor(options: DdpmConfig, step: int, steps: int) -> float:
    """The share of the highest learning rate at `step` (from 0) of so many."""
    rising = min(1.0, (step + 1) / (options.warmup + 1))
    progress = max(0.0, (step - options.warmup) / max(1, steps - options.warmup))
    falling = {"none": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return rising * falling[options.decay]
