"""Early-stopping rules, which pick the restoration of a fit without the truth.

A rule gives every image a score at each iteration; lower is better. `Stopping` stores the restoration with the best
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
    """The input of a stopping rule: the fit of n images at one iteration."""

    step: int
    """The iteration, from 1 on."""
    indices: Tensor
    """The indices of these images in the batch, int64 (n,)."""
    output: Tensor
    """The networks' outputs, (n, C, H, W)."""
    restored: Tensor
    """The current restorations: the running averages of outputs, or the outputs themselves, (n, C, H, W)."""
    residual: Tensor
    """The mean of (A output - y)^2 over the fitted measurements, (n,)."""
    held_out: Tensor | None
    """The error of `restored` at the held-out measurements, (n,); None where no measurements are held out."""


Rule: TypeAlias = Callable[[StopInput], Tensor]
"""Maps the state of a fit to scores (n,). Lower is better; 0 stops the image, and infinity or NaN means no score."""


def held_out(fit: StopInput) -> Tensor:
    """Score by the error at held-out measurements, which serve as a validation set within the image."""
    assert fit.held_out is not None
    return fit.held_out


def never(fit: StopInput) -> Tensor:
    """Score every iteration better than the previous one but above 0, so that the last iteration is returned."""
    return torch.full_like(fit.residual, 1 / fit.step)


def discrepancy(expected: Tensor) -> Rule:
    """Score by the relative excess of the residual over `expected`, (B,); 0 once the residual is no larger.

    This is Morozov's discrepancy principle: stop when the residual has fallen to the level that noise alone leaves. A
    slightly lower `expected` works better, because by then the network has fitted some of the noise too.
    """
    return lambda fit: (fit.residual / expected[fit.indices] - 1).clamp(min=0)


class MovingVariance(nn.Module):
    """ES-WMV (Wang et al., TMLR 2023): the variance of the outputs over a window of iterations.

    VAR = mean over pixels of the variance of the last W outputs. It falls while the image takes shape and rises when
    noise is fitted. Running sums in float64 make its cost independent of W. As in the authors' code, the score belongs
    to the last iteration of the window.
    """

    def __init__(self, shape: torch.Size, window: int, device: torch.device | str) -> None:
        super().__init__()
        wide = torch.float64 if torch.device(device).type != "mps" else torch.float32
        self.ring: Tensor = nn.Buffer(torch.zeros(window, *shape, device=device))
        # The sums are part of the state, so that a resumed fit has the same rounding errors.
        self.sum: Tensor = nn.Buffer(torch.zeros(shape, dtype=wide, device=device))
        self.squares: Tensor = nn.Buffer(torch.zeros(shape, dtype=wide, device=device))
        self.finite: Tensor = nn.Buffer(torch.zeros(shape[:1], dtype=torch.long, device=device))
        """The number of iterations since the last one whose residual wasn't finite."""

    def forward(self, fit: StopInput) -> Tensor:
        """Replace the oldest output by the new one, and return the scores (n,).

        The score is infinity until the window is full of outputs whose residual is finite.
        """
        window, slot = len(self.ring), (fit.step - 1) % len(self.ring)
        new, old = fit.output.to(self.sum.dtype), self.ring[slot].to(self.sum.dtype)
        self.sum += new - old
        self.squares += new.square() - old.square()
        self.ring[slot] = fit.output
        self.finite = torch.where(fit.residual.isfinite(), self.finite + 1, 0)
        variance = self.squares / window - (self.sum / window).square()
        score = variance.flatten(1).mean(1).to(fit.residual.dtype)
        return torch.where(self.finite < window, torch.inf, score)

    def select(self, rows: Tensor) -> None:
        """Drop the outputs of all other rows."""
        self.ring, self.sum, self.squares = self.ring[:, rows], self.sum[rows], self.squares[rows]
        self.finite = self.finite[rows]


class Stopping(nn.Module):
    """The best restoration of each image, which stops when its best score is `patience` iterations old.

    `best_iteration` (B,) is the iteration of `restored` (B, C, H, W). `stopped_at` (B,) is the iteration at which an
    image stopped, 0 before; from then on neither changes. Without a score so far, when `best` is infinite, the latest
    restoration is the best. `select` leaves stopped images out of later updates; `indices` int64 (n,) are the images
    that are still updated.
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
        """True if every image has stopped."""
        return bool((self.stopped_at > 0).all())

    def select(self, rows: Tensor) -> None:
        """Update only these rows of the images updated so far; all others must have stopped."""
        self.indices = self.indices[rows]
        if isinstance(self.rule, MovingVariance):
            self.rule.select(rows)

    def give_up(self, images: Tensor, step: int) -> None:
        """Stop these images, bool (B,), at this iteration; `restored` stays as it is."""
        self.stopped_at = torch.where(images & (self.stopped_at == 0), step, self.stopped_at)

    def update(self, fit: StopInput) -> None:
        """Score an iteration and store the restorations that improve on the best scores."""
        finite = fit.residual.isfinite()
        scores = torch.where(finite, self.rule(fit).nan_to_num(torch.inf, torch.inf), torch.inf)
        score = self.best.index_copy(0, self.indices, scores)
        restored = self.restored.index_copy(0, self.indices, fit.restored)
        active = self.stopped_at == 0
        # Without a score so far, the latest restoration of a finite fit is stored.
        usable = active & torch.ones_like(active).index_copy(0, self.indices, finite)
        better = active & ((score < self.best) | (self.best.isinf() & usable))
        self.best = torch.where(better, score, self.best)
        self.best_iteration = torch.where(better, fit.step, self.best_iteration)
        self.restored = torch.where(better.view(-1, 1, 1, 1), restored, self.restored)
        stops_now = (self.best <= 0) | (fit.step - self.best_iteration >= self.patience)
        self.stopped_at = torch.where(usable & stops_now, fit.step, self.stopped_at)
