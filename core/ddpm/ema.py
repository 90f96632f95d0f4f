"""The running average of a network's weights, which samples better than the weights themselves."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from dipddpm.core.events import StateDict


class Ema:
    """An exponential moving average with warm-up: average += (1 - d) (weights - average), d growing to `decay`.

    After n updates d is min(decay, (1 + n) / (10 + n)), so that the first, random weights are soon forgotten: with a
    constant 0.9999 a short training would average mostly those.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        """The network with the averaged weights."""

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the weights of one more step in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """All that going on needs."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]
