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

from core.events import State


@dataclass(frozen=True)
class Look:
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
    def score(self, look: Look) -> Tensor:
        """(B,), lower is better; at 0 an image stops at once, at infinity there is no score yet."""

    def keep(self, rows: Tensor) -> None:
        """Score only these rows of the images from now on, int64 (n,)."""
        del rows

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers of earlier iterations."""
        return {}

    def load_state_dict(self, state: State) -> None:
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
        self.seen = 0

    def score(self, look: Look) -> Tensor:
        """Put the output in the place of the oldest one."""
        window, place = len(self.ring), self.seen % len(self.ring)
        new, old = look.output.to(self.sum.dtype), self.ring[place].to(self.sum.dtype)
        self.sum += new - old
        self.squares += new.square() - old.square()
        self.ring[place] = look.output
        self.seen += 1
        if self.seen < window:
            return torch.full_like(look.residual, torch.inf)
        variance = self.squares / window - (self.sum / window).square()
        return variance.flatten(1).mean(1).to(look.residual.dtype)

    def keep(self, rows: Tensor) -> None:
        """Remember what was of these images."""
        self.ring, self.sum, self.squares = self.ring[:, rows], self.sum[rows], self.squares[rows]

    def state_dict(self) -> dict[str, Any]:
        """The window and its sums, so that rounding goes on as it would have."""
        return {"ring": self.ring, "sum": self.sum, "squares": self.squares, "seen": self.seen}

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.ring.copy_(state["ring"])
        self.sum.copy_(state["sum"])
        self.squares.copy_(state["squares"])
        self.seen = state["seen"]


class HeldOut(Rule):
    """The error at measured values that the fit never sees: a validation set inside the image."""

    name = "held-out"

    def score(self, look: Look) -> Tensor:
        """The held-out error of what would be returned."""
        assert look.held_out is not None
        return look.held_out


class Discrepancy(Rule):
    """Morozov's principle: stop when the residual has come down to what the noise alone would leave.

    A little less than that serves better: by then the network has fitted some of the noise too.
    """

    name = "discrepancy"

    def __init__(self, expected: Tensor) -> None:
        self.expected = expected
        """The residual to stop at, (B,)."""

    def score(self, look: Look) -> Tensor:
        """The residual's excess over the expected one, 0 when there is none."""
        return (look.residual / self.expected - 1).clamp(min=0)

    def keep(self, rows: Tensor) -> None:
        """Expect the residuals of these images."""
        self.expected = self.expected[rows]


class Never(Rule):
    """Every iteration is better than the one before: the last one is returned."""

    name = "never"

    def __init__(self) -> None:
        self.seen = 0

    def score(self, look: Look) -> Tensor:
        """Less with every iteration, and never 0."""
        self.seen += 1
        return torch.full_like(look.residual, 1 / self.seen)

    def state_dict(self) -> dict[str, Any]:
        """How many iterations there were."""
        return {"seen": self.seen}

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.seen = state["seen"]


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
        self.at = torch.zeros(shape[:1], dtype=torch.long, device=device)
        self.decided = torch.zeros(shape[:1], dtype=torch.long, device=device)
        self.restored = torch.zeros(shape, device=device)
        self.places = torch.arange(shape[0], device=device)

    @property
    def over(self) -> bool:
        """Whether every image has stopped."""
        return bool((self.decided > 0).all())

    def keep(self, rows: Tensor) -> None:
        """Look only at these rows of the images looked at so far, from now on; all others must have stopped."""
        self.places = self.places[rows]
        self.rule.keep(rows)

    def update(self, step: int, look: Look) -> None:
        """Take iteration `step` (from 1 on) into account."""
        score = self.best.index_copy(0, self.places, self.rule.score(look).nan_to_num(nan=torch.inf))
        restored = self.restored.index_copy(0, self.places, look.restored)
        going = self.decided == 0
        # Until the first score there is the image of the moment.
        better = going & ((score < self.best) | self.best.isinf())
        self.best = torch.where(better, score, self.best)
        self.at = torch.where(better, step, self.at)
        self.restored = torch.where(better.view(-1, 1, 1, 1), restored, self.restored)
        over = (self.best <= 0) | (step - self.at >= self.patience)
        self.decided = torch.where(going & over, step, self.decided)

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and what the rule remembers."""
        tensors = {"best": self.best, "at": self.at, "decided": self.decided, "restored": self.restored}
        return {**tensors, "places": self.places, "rule": self.rule.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`, once what it doesn't look at is left out."""
        self.best, self.at = state["best"], state["at"]
        self.decided, self.restored = state["decided"], state["restored"]
        self.rule.load_state_dict(state["rule"])
