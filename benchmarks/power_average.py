"""Power-function averages of a network's weights: two are tracked in training, others are combined from them later.

Karras et al., "Analyzing and Improving the Training Dynamics of Diffusion Models", CVPR 2024, section 3. The average
after t steps gives the weights of step s a share proportional to s^exponent, in discrete steps exactly
(s / t)^(exponent + 1) - ((s - 1) / t)^(exponent + 1). Its length is the standard deviation of s as a share of t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dipddpm.core.events import StateDict


def exponent_of(length: float) -> float:
    """Return the exponent whose average has this length, from 0 to 0.28; 0.05 gives 16.97 and 0.1 gives 6.94."""
    inverse = length**-2  # length^2 = (exponent + 1) / ((exponent + 2)^2 (exponent + 3))
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def shares(exponent: float, end: int, steps: int) -> NDArray[np.float64]:
    """Return the share of each step's weights, (steps,), in the average after `end` of them."""
    reached = (np.minimum(np.arange(steps + 1), end) / end) ** (exponent + 1)
    return np.diff(reached)


class Snapshot(NamedTuple):
    """The averaged weights after `step` steps."""

    exponent: float
    step: int
    weights: list[Tensor]


class PowerAverage:
    """An average of a network's weights over all steps so far, in which the shares grow as step^exponent."""

    def __init__(self, network: nn.Module, exponent: float) -> None:
        self.exponent = exponent
        self.step = 0
        self.weights = [parameter.detach().clone() for parameter in network.parameters()]

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after one more step."""
        self.step += 1
        share = 1 - (1 - 1 / self.step) ** (self.exponent + 1)
        torch._foreach_lerp_(self.weights, list(network.parameters()), share)

    def snapshot(self) -> Snapshot:
        """Return a copy of the average."""
        return Snapshot(self.exponent, self.step, [weight.clone() for weight in self.weights])

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs."""
        return {"step": self.step, "weights": self.weights}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        self.step, self.weights = state["step"], list(state["weights"])


def combined(snapshots: Sequence[Snapshot], exponent: float) -> list[Tensor]:
    """Return the average with another exponent after the last step, as nearly as the snapshots give it.

    Their coefficients are the least-squares ones between the shares of all steps.
    """
    last = max(snapshot.step for snapshot in snapshots)
    columns = np.stack([shares(each.exponent, each.step, last) for each in snapshots], 1)
    coefficients = np.linalg.lstsq(columns, shares(exponent, last, last), rcond=None)[0]
    layers = zip(*(snapshot.weights for snapshot in snapshots), strict=True)
    factors = torch.from_numpy(coefficients)
    return [
        torch.tensordot(factors.to(layer[0].device), torch.stack(layer).double(), 1).to(layer[0]) for layer in layers
    ]
