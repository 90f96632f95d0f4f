"""Training of a small network on one kind of input, which measures the loss it reaches and how stably it trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.events import StateDict
from dipddpm.core.study.findings import TrainResult

CHANNELS = (16, 32)
"""Channels of the U-Net's two levels: 52,306 weights, few enough to train on some hundred images."""
BATCH_SIZE = 16
LR = 3e-3
"""Adam's learning rate at the start; it falls linearly to 0."""
SPIKE = 3.0
"""A step counts as a spike if its loss exceeds the median of its epoch by more than this factor."""


@dataclass(frozen=True)
class Examples:
    """Inputs, (N, 2, H, W), their timesteps t, (N,), and the targets that the network must predict, (N, 1, H, W).

    Inputs always have two channels, so that every trial trains the same network: a single input is repeated.
    """

    inputs: Tensor
    t: Tensor
    targets: Tensor


def trial_network(shape: tuple[int, int], timesteps: int, seed: int, device: torch.device | str) -> nn.Module:
    """Return a small U-Net for (N, 2, H, W) at t (N,); the first of its two output channels is the prediction."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet((2, *shape), channels=CHANNELS, patch=1, attention=0, timesteps=timesteps)
    return unet.to(device)


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, t: Tensor) -> Tensor:
    """Return the network's prediction, (N, 1, H, W), computed in parts of 128 images."""
    parts = zip(torch.split(inputs, 128), torch.split(t, 128), strict=True)
    return torch.cat([network(x, s)[:, :1] for x, s in parts])


class TrainingTrial:
    """A training that minimises |target - network(input, t)|^2 on `fit`, and measures it on `held_out` every epoch.

    Each batch and its targets are flipped along each axis with probability 1/2, which leaves the distribution of the
    noise as it is. One generator, seeded with `seed`, draws everything.
    """

    def __init__(self, network: nn.Module, fit: Examples, held_out: Examples, *, epochs: int, seed: int) -> None:
        self.network, self.fit, self.held_out, self.epochs = network, fit, held_out, epochs
        self.generator = torch.Generator().manual_seed(seed)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=LR, betas=(0.9, 0.99))
        self.losses: list[list[float]] = []
        """Training losses of the steps of each epoch."""
        self.norms: list[list[float]] = []
        """Gradient norms of the steps of each epoch."""
        self.curve: list[float] = []
        """Held-out error after each epoch."""

    def __iter__(self) -> Iterator[float]:
        """Train, and yield the mean training loss after each epoch."""
        steps = -(-len(self.fit.t) // BATCH_SIZE)
        for epoch in range(len(self.curve), self.epochs):
            self.losses.append([])
            self.norms.append([])
            order = torch.randperm(len(self.fit.t), generator=self.generator)
            for step, indices in enumerate(torch.split(order, BATCH_SIZE)):
                share = (epoch * steps + step) / (self.epochs * steps)
                self.optimizer.param_groups[0]["lr"] = LR * (1 - share)
                self._update(indices.to(self.fit.t.device))
            self.curve.append(float(self.errors().mean()))
            yield sum(self.losses[-1]) / steps

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after an epoch."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "losses": self.losses,
            "norms": self.norms,
            "curve": self.curve,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of the same examples and settings."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.losses, self.norms, self.curve = state["losses"], state["norms"], state["curve"]

    def errors(self) -> Tensor:
        """Return the mean squared error on each held-out image, (N,)."""
        residual = predict(self.network, self.held_out.inputs, self.held_out.t) - self.held_out.targets
        return residual.square().flatten(1).mean(1)

    def result(self, bands: list[float]) -> TrainResult:
        """Return losses and gradient statistics; the statistics leave out the first epoch, which is never stable."""
        late_losses = self.losses[1:] or self.losses
        norms = torch.tensor([norm for epoch in self.norms[1:] or self.norms for norm in epoch])
        spikes = sum(loss > SPIKE * sorted(epoch)[len(epoch) // 2] for epoch in late_losses for loss in epoch)
        return TrainResult(
            loss=self.curve[-1],
            curve=self.curve,
            training=[sum(epoch) / len(epoch) for epoch in self.losses],
            bands=bands,
            gradient=float(norms.mean()),
            gradient_spread=float(norms.std(correction=0) / norms.mean()),
            spikes=spikes,
            steps=sum(len(epoch) for epoch in late_losses),
        )

    def _update(self, indices: Tensor) -> None:
        flipped_axes = [side for side in (-2, -1) if torch.rand((), generator=self.generator) < 0.5]
        inputs, targets = self.fit.inputs[indices].flip(flipped_axes), self.fit.targets[indices].flip(flipped_axes)
        loss = F.mse_loss(self.network(inputs, self.fit.t[indices])[:, :1], targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        # An infinite bound measures the norm without clipping.
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), float("inf"))
        self.optimizer.step()
        self.losses[-1].append(loss.item())
        self.norms[-1].append(norm.item())
