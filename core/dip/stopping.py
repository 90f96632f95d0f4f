"""Rules that pick an image from a fit without knowing the truth.

A rule gives every image a score at each iteration, the lower the better; `Stopping` keeps the restoration at the best
score, and stops an image when its score has not improved for some time. Nothing here waits for the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.events import StateDict


@dataclass(frozen=True)
class StopInput:
    """What the fit of B images shows at one iteration."""

    output: Tensor
    """The networks' outputs, (B, C, H, W)."""
    restored: Tensor
    """What would be returned now: the running average of outputs, or the output itself."""
    residual: Tensor
    """Mean of (A output - y)^2 over what is fitted, (B,)."""
    held_out: Tensor | None
    """The error of `restored` where it is measured but held out of the fit, (B,); None where nothing is."""


class Rule(ABC):
    """A score for each image, from what is known without the truth."""

    name: str

    @abstractmethod
    def score(self, stop_input: StopInput) -> Tensor:
        """(B,), lower is better; at 0 an image stops at once, at infinity there is no score yet."""

    def select(self, rows: Tensor) -> None:
        """Score only these rows of the images from now on, int64 (n,)."""
        del rows

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers of earlier iterations."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        del state


class MovingVariance(Rule):
    """ES-WMV (Wang et al., TMLR 2023): the variance of the outputs over a window of iterations.

    VAR = mean over pixels of the variance of the last W outputs. It falls while the image takes shape and rises when
    noise is fitted. Kept by running sums in float64, which costs the same for any W. As in the authors' code, the score
    belongs to the last iteration of the window.
    """

    name = "variance"

    def __init__(self, shape: torch.Size, window: int, device: torch.device | str) -> None:
        self.ring = torch.zeros(window, *shape, device=device)
        wide = torch.float64 if torch.device(device).type != "mps" else torch.float32
        self.sum = torch.zeros(shape, dtype=wide, device=device)
        self.squares = torch.zeros(shape, dtype=wide, device=device)
        self.iterations_seen = 0

    def score(self, stop_input: StopInput) -> Tensor:
        """Put the output in the place of the oldest one."""
        window, slot = len(self.ring), self.iterations_seen % len(self.ring)
        new, old = stop_input.output.to(self.sum.dtype), self.ring[slot].to(self.sum.dtype)
        self.sum += new - old
        self.squares += new.square() - old.square()
        self.ring[slot] = stop_input.output
        self.iterations_seen += 1
        if self.iterations_seen < window:
            return torch.full_like(stop_input.residual, torch.inf)
        variance = self.squares / window - (self.sum / window).square()
        return variance.flatten(1).mean(1).to(stop_input.residual.dtype)

    def select(self, rows: Tensor) -> None:
        """Remember what was of these images."""
        self.ring, self.sum, self.squares = self.ring[:, rows], self.sum[rows], self.squares[rows]

    def state_dict(self) -> dict[str, Any]:
        """The window and its sums, so that rounding goes on as it would have."""
        return {"ring": self.ring, "sum": self.sum, "squares": self.squares, "seen": self.iterations_seen}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.ring.copy_(state["ring"])
        self.sum.copy_(state["sum"])
        self.squares.copy_(state["squares"])
        self.iterations_seen = state["seen"]


class HeldOut(Rule):
    """The error at measured values that the fit never sees: a validation set inside the image."""

    name = "held-out"

    def score(self, stop_input: StopInput) -> Tensor:
        """The held-out error of what would be returned."""
        assert stop_input.held_out is not None
        return stop_input.held_out


class Discrepancy(Rule):
    """Morozov's principle: stop when the residual has come down to what the noise alone would leave.

    A little less than that serves better: by then the network has fitted some of the noise too.
    """

    name = "discrepancy"

    def __init__(self, expected: Tensor) -> None:
        self.expected = expected
        """The residual to stop at, (B,)."""

    def score(self, stop_input: StopInput) -> Tensor:
        """The residual's excess over the expected one, 0 when there is none."""
        return (stop_input.residual / self.expected - 1).clamp(min=0)

    def select(self, rows: Tensor) -> None:
        """Expect the residuals of these images."""
        self.expected = self.expected[rows]


class Never(Rule):
    """Every iteration is better than the one before: the last one is returned."""

    name = "never"

    def __init__(self) -> None:
        self.iterations_seen = 0

    def score(self, stop_input: StopInput) -> Tensor:
        """Less with every iteration, and never 0."""
        self.iterations_seen += 1
        return torch.full_like(stop_input.residual, 1 / self.iterations_seen)

    def state_dict(self) -> dict[str, Any]:
        """How many iterations there were."""
        return {"seen": self.iterations_seen}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.iterations_seen = state["seen"]


class Stopping:
    """The restoration at the best score so far of each image, until that score has stood for `patience` iterations.

    `at` (B,) is the iteration of `restored` (B, C, H, W); `decided` (B,) is the iteration at which an image stopped,
    0 while it hasn't. What comes after that leaves both as they are. A stopped image can be left out of what comes
    (`keep`); `places` int64 (n,) says which images the next look is at.
    """

    def __init__(self, rule: Rule, shape: torch.Size, patience: int, device: torch.device | str) -> None:
        self.rule = rule
        self.patience = patience
        self.best = torch.full(shape[:1], torch.inf, device=device)
        self.best_iteration = torch.zeros(shape[:1], dtype=torch.long, device=device)
        self.stopped_at = torch.zeros(shape[:1], dtype=torch.long, device=device)
        self.restored = torch.zeros(shape, device=device)
        self.indices = torch.arange(shape[0], device=device)

    @property
    def all_stopped(self) -> bool:
        """Whether every image has stopped."""
        return bool((self.stopped_at > 0).all())

    def select(self, rows: Tensor) -> None:
        """Look only at these rows of the images looked at so far, from now on; all others must have stopped."""
        self.indices = self.indices[rows]
        self.rule.select(rows)

    def update(self, step: int, stop_input: StopInput) -> None:
        """Take iteration `step` (from 1 on) into account."""
        score = self.best.index_copy(0, self.indices, self.rule.score(stop_input).nan_to_num(nan=torch.inf))
        restored = self.restored.index_copy(0, self.indices, stop_input.restored)
        active = self.stopped_at == 0
        # Until the first score there is the image of the moment.
        better = active & ((score < self.best) | self.best.isinf())
        self.best = torch.where(better, score, self.best)
        self.best_iteration = torch.where(better, step, self.best_iteration)
        self.restored = torch.where(better.view(-1, 1, 1, 1), restored, self.restored)
        stops_now = (self.best <= 0) | (step - self.best_iteration >= self.patience)
        self.stopped_at = torch.where(active & stops_now, step, self.stopped_at)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and what the rule remembers."""
        tensors = {"best": self.best, "at": self.best_iteration, "decided": self.stopped_at, "restored": self.restored}
        return {**tensors, "places": self.indices, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`, once what it doesn't look at is left out."""
        self.best, self.best_iteration = state["best"], state["at"]
        self.stopped_at, self.restored = state["decided"], state["restored"]
        self.rule.load_state_dict(state["rule"])
