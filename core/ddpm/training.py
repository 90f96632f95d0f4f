"""The training of a denoising network, which yields events as it is iterated."""

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
"""Maps xt (N, C, H, W) and t (N,) to the network's input, a tensor like xt that replaces it, without gradients."""

LOWER_LR = "Lower the learning rate (ddpm.lr) and run again."
"""The remedy for a training whose numbers are no longer finite."""
READ_EVERY = 25
"""Steps between two readings of the loss on an accelerator, since each reading waits for the device."""


class DdpmTraining:
    """A training that minimises |eps - network(xt, t)|^2 with t uniform, by Adam.

    Ho et al. 2020, algorithm 1 with L_simple, eq. 14; `options` choose the objective, weights, averaging and more.
    `images` is uint8 (N, C, H, W), on the device of the network and the schedule. An epoch takes all images, shuffled;
    its last batch may be smaller. `labels` and `held_out_labels`, int64 (N,), are for class-conditional networks;
    `cond` and `held_out_cond`, (N, C', H, W), for networks with more input channels than xt.

    The best model is the one with the lowest mean training loss of an epoch or, with `held_out` images, the lowest
    error of `selection_objective` on up to 1,000 of them (of the averaged weights, if there are any). Each epoch also
    reports the error of eps by timestep band. Without held-out images it is measured on the first training images, and
    with an `input_transform` it is then left out, since the transform has state. The items of an epoch's end are
    yielded before the `Step` that ends it.

    All random draws come from the training's own generator, so a training resumed with `load_state_dict` gives the same
    numbers as one that never stopped, bit for bit on a CPU. Where several processes share the training
    (`process_group`), each takes its part of every batch, and the losses equal a single process's up to rounding.
    Raises UserError when the loss or an epoch's error is no longer finite. Nothing is yielded between the faulty step
    and the error, so that no checkpoint can hold its weights.
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
        """True if the best model is chosen on held-out images."""
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
        # Compile each batch size separately: there are few, and symbolic sizes cost speed and fail on some networks.
        wrapped = self.process_group.wrap(network)
        self._forward: Callable[..., Tensor] = wrapped
        if options.compile:
            self._forward = torch.compile(wrapped, dynamic=False, mode=options.compile_mode)
        table = schedule.loss_weights(options.objective, options.weighting)
        self._weights = None if table is None else table.to(images.device)
        self.generator = torch.Generator(images.device).manual_seed(seed)
        self.step = 0
        self.epoch = 0
        """The number of finished epochs."""
        self.best = math.inf
        self.best_epoch = 0
        self._shuffle()

    @property
    def steps_per_epoch(self) -> int:
        """The number of optimiser steps in an epoch, including a smaller last batch."""
        return math.ceil(self.images_per_epoch / self.options.batch_size)

    @property
    def images_per_epoch(self) -> int:
        """The number of images in an epoch; with several passes, an image counts as often as it is used."""
        return len(self.images) * self.options.passes

    @property
    def averaged(self) -> nn.Module:
        """The network with the averaged weights; the trained network itself if weights aren't averaged."""
        return self.network if self.ema is None else self.ema.network

    @property
    def lr(self) -> float:
        """The current learning rate of Adam."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __iter__(self) -> Iterator[Item]:
        while self.epoch < self.epochs:
            self._clock = time.perf_counter()
            epoch_done = False
            while not epoch_done:
                step = self._train_steps()
                epoch_done = self._images_used == self.images_per_epoch
                if epoch_done:
                    yield from self._finish_epoch()
                yield step

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch

    def batch(self) -> Tensor:
        """Return the images of the next step, in model space, (n, C, H, W)."""
        return to_model(self.images[self._batch_indices])

    @property
    def _batch_indices(self) -> Tensor:
        """The indices of the images of the next step, int64 (n,)."""
        return self._order[self._images_used : self._images_used + self.options.batch_size]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs; valid after a `Step`, and only until the next item."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "generator_before_shuffle": self._before_shuffle,
            "step": self.step,
            "epoch": self.epoch,
            "taken": self._images_used,
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of `state_dict`, with the same images and options."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator_before_shuffle"].cpu())
        self._shuffle()
        self.generator.set_state(state["generator"].cpu())
        self.step, self.epoch = state["step"], state["epoch"]
        self._images_used, self._loss_sum, self._seconds = state["taken"], state["loss_sum"], state["seconds"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])

    def _shuffle(self) -> None:
        """Begin an epoch in a new random order.

        Checkpoints store the generator's state (5 kB) rather than the order (480 kB).
        """
        self._before_shuffle = self.generator.get_state()
        order = torch.randperm(self.images_per_epoch, generator=self.generator, device=self.images.device)
        self._order = order % len(self.images)
        self._images_used = 0
        self._loss_sum = 0.0
        self._seconds = 0.0

    def _train_steps(self) -> Step:
        """Do the optimiser steps up to the next reading of the loss."""
        used_before = self._images_used
        losses = torch.zeros((), device=self.images.device)
        for _ in range(self.read_every):
            x0 = self.batch()
            losses += self._update(x0, self._batch_labels()) * len(x0)
            self._images_used += len(x0)
            self.step += 1
            if self._images_used == self.images_per_epoch:
                break
        count = self._images_used - used_before
        loss_sum = self.process_group.all_reduce_sum(losses).item()
        if not math.isfinite(loss_sum):
            problem = f"The loss became {loss_sum} at step {self.step}, in epoch {self.epoch + 1}."
            raise UserError(problem, self._remedy)
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
        """Do one optimiser step on a batch; return this rank's share of the mean loss, still on the device."""
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

    @property
    def _remedy(self) -> str:
        """The remedy for numbers that are no longer finite, with the model that is left."""
        return LOWER_LR + (f" The best model, of epoch {self.best_epoch}, is stored." if self.best_epoch else "")

    def _draw_times(self, count: int) -> Tensor:
        """Draw a timestep for each image: uniformly, or, if stratified, one in each of `count` parts at one offset."""
        length, generator, device = len(self.schedule), self.generator, self.images.device
        if not self.options.stratified:
            return torch.randint(length, (count,), generator=generator, device=device)
        offset = torch.rand(1, generator=generator, device=device)
        return (((torch.arange(count, device=device) + offset) / count) * length).long().clamp(max=length - 1)

    def _batch_labels(self) -> Tensor | None:
        """Return the labels of the next step, some of them dropped at random."""
        if self.labels is None:
            return None
        label = self.labels[self._batch_indices]
        dropped = torch.rand(label.shape, generator=self.generator, device=label.device) < self.options.label_dropout
        return label.masked_fill(dropped, int(self.network.classes))  # type: ignore[arg-type]

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
        # Gradients are averaged over the ranks, whose shards may differ in size or, in a small last batch, be empty.
        loss: Tensor = errors.sum() * (self.process_group.world_size / whole)
        return loss

    def _finish_epoch(self) -> Iterator[Item]:
        epoch, count = self.epoch + 1, self.images_per_epoch
        loss = self._loss_sum / count
        error, bands = self._validate()
        # The loss was measured before the last step, which may have spoilt the weights.
        finite = self._weights_are_finite() if error is None else math.isfinite(error)
        if not finite:
            problem = f"After epoch {epoch} the network's predictions or its weights are not finite."
            raise UserError(problem, self._remedy)
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
        """Return the error at the end of an epoch, and the error of eps by timestep band."""
        if self.input_transform is not None and not self.has_held_out:
            return None, []
        self.averaged.eval()
        measured = self.validator.measure(self._denoiser)
        self.network.train()
        return measured

    def _weights_are_finite(self) -> bool:
        return all(bool(parameter.isfinite().all()) for parameter in self.averaged.parameters())

    def _lap(self) -> float:
        """Return the seconds since the last call, and add them to the epoch's seconds."""
        now = time.perf_counter()
        seconds = now - self._clock
        self._clock = now
        self._seconds += seconds
        return seconds


def lr_factor(options: DdpmConfig, step: int, steps: int) -> float:
    """Return the fraction of the peak learning rate at `step` (from 0) of `steps`."""
    rising = min(1.0, (step + 1) / (options.warmup + 1))
    progress = max(0.0, (step - options.warmup) / max(1, steps - options.warmup))
    falling = {"none": 1.0, "linear": 1 - progress, "cosine": (1 + math.cos(math.pi * progress)) / 2}
    return rising * falling[options.decay]
