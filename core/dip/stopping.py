"""Rules that pick an image from a fit without knowing the truth.

A rule gives every image a score at each iteration, the lower the better; `Stopping` keeps the restoration at the best
score, and stops an image when its score has not improved for some time. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class StopInput:
    """What the fit of n images shows at one iteration."""

    step: int
    """The iteration, from 1 on."""
    indices: Tensor
    """Which images of the batch these are, int64 (n,)."""
    output: Tensor
    """The networks' outputs, (n, C, H, W)."""
    restored: Tensor
    """What would be returned now: the running average of outputs, or the output itself."""
    residual: Tensor
    """Mean of (A output - y)^2 over what is fitted, (n,)."""
    held_out: Tensor | None
    """The error of `restored` where it is measured but held out of the fit, (n,); None where nothing is."""


Rule: TypeAlias = Callable[[StopInput], Tensor]
"""Scores (n,), the lower the better; at 0 an image stops at once, at infinity there is no score yet."""


def held_out(fit: StopInput) -> Tensor:
    """Score by the error at measured values that the fit never sees: a validation set inside the image."""
    assert fit.held_out is not None
    return fit.held_out


def never(fit: StopInput) -> Tensor:
    """Score every iteration better than the one before, and never 0: the last one is returned."""
    return torch.full_like(fit.residual, 1 / fit.step)


def discrepancy(expected: Tensor) -> Rule:
    """Score by the residual's excess over the expected one of each image of the batch, (B,), 0 when there is none.

    This is Morozov's principle: stop when the residual has come down to what the noise alone would leave. A little less
    than that serves better: by then the network has fitted some of the noise too.
    """
    return lambda fit: (fit.residual / expected[fit.indices] - 1).clamp(min=0)


class MovingVariance(nn.Module):
    """ES-WMV (Wang et al., TMLR 2023): the variance of the outputs over a window of iterations.

    VAR = mean over pixels of the variance of the last W outputs. It falls while the image takes shape and rises when
    noise is fitted. Kept by running sums in float64, which costs the same for any W. As in the authors' code, the score
    belongs to the last iteration of the window.
    """

    def __init__(self, shape: torch.Size, window: int, device: torch.device | str) -> None:
        super().__init__()
        wide = torch.float64 if torch.device(device).type != "mps" else torch.float32
        self.ring: Tensor = nn.Buffer(torch.zeros(window, *shape, device=device))
        # The sums are part of the state, so that rounding goes on as it would have.
        self.sum: Tensor = nn.Buffer(torch.zeros(shape, dtype=wide, device=device))
        self.squares: Tensor = nn.Buffer(torch.zeros(shape, dtype=wide, device=device))

    def forward(self, fit: StopInput) -> Tensor:
        """Put the output in the place of the oldest one."""
        window, slot = len(self.ring), (fit.step - 1) % len(self.ring)
        new, old = fit.output.to(self.sum.dtype), self.ring[slot].to(self.sum.dtype)
        self.sum += new - old
        self.squares += new.square() - old.square()
        self.ring[slot] = fit.output
        if fit.step < window:
            return torch.full_like(fit.residual, torch.inf)
        variance = self.squares / window - (self.sum / window).square()
        return variance.flatten(1).mean(1).to(fit.residual.dtype)

    def select(self, rows: Tensor) -> None:
        """Drop the outputs of all other rows."""
        self.ring, self.sum, self.squares = self.ring[:, rows], self.sum[rows], self.squares[rows]


class Stopping(nn.Module):
    """The restoration at the best score so far of each image, until that score has stood for `patience` iterations.

    `best_iteration` (B,) is the iteration of `restored` (B, C, H, W); `stopped_at` (B,) is the one at which an image
    stopped, 0 while it hasn't. What comes after that leaves both as they are. A stopped image can be left out of what
    comes (`select`); `indices` int64 (n,) are those of the images that are still updated.
    """

    def __init__(self, rule: Rule, shape: torch.Size, patience: int, device: torch.device | str) -> None:
        super().__init__()
        self.rule = rule
        self.patience = patience
        self.best: Tensor = nn.Buffer(torch.full(shape[:1], torch.inf, device=device))
        self.best_iteration: Tensor = nn.Buffer(torch.zeros(shape[:1], dtype=torch.long, device=device))
        self.stopped_at: Tensor = nn.Buffer(torch.zeros(shape[:1], dtype=torch.long, device=device))
        self.restored: Tensor = nn.Buffer(torch.zeros(shape, device=device))
        self.indices: Tensor = nn.Buffer(torch.arange(shape[0], device=device))

    @property
    def all_stopped(self) -> bool:
        """Whether every image has stopped."""
        return bool((self.stopped_at > 0).all())

    def select(self, rows: Tensor) -> None:
        """Update only these rows of the images updated so far, from now on; all others must have stopped."""
        self.indices = self.indices[rows]
        if isinstance(self.rule, MovingVariance):
            self.rule.select(rows)

    def update(self, fit: StopInput) -> None:
        """Take an iteration into account."""
        score = self.best.index_copy(0, self.indices, self.rule(fit).nan_to_num(nan=torch.inf))
        restored = self.restored.index_copy(0, self.indices, fit.restored)
        active = self.stopped_at == 0
        # Until the first score there is the image of the moment.
        better = active & ((score < self.best) | self.best.isinf())
        self.best = torch.where(better, score, self.best)
        self.best_iteration = torch.where(better, fit.step, self.best_iteration)
        self.restored = torch.where(better.view(-1, 1, 1, 1), restored, self.restored)
        stops_now = (self.best <= 0) | (fit.step - self.best_iteration >= self.patience)
        self.stopped_at = torch.where(active & stops_now, fit.step, self.stopped_at)
