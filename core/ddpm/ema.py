"""An exponential moving average of a network's weights, which gives better samples than the weights themselves."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from dipddpm.core.events import StateDict


class Ema:
    """An exponential moving average with warm-up: average += (1 - d) (weights - average), d growing to `decay`.

    After n updates d is min(decay, (1 + n) / (10 + n)), so that the random initial weights are soon forgotten. With a
    constant d of 0.9999, the average of a short training would consist mostly of them.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        """The network with the averaged weights."""

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update the average with the weights after one more step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs."""
        return {"network": self.network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.updates = state["updates"]
