"""Measure if a network's output depends on the brightness and the contrast of its input, whatever its layers are.

A network that begins by normalizing the whole image, such as the published baseline's, gives the same output for any
brightness and any contrast of xt. What it can't see, it can't correct, and the way from noise to image multiplies an
error of the mean by 1 / sqrt(alpha_bar_T), by 157 with the published schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

BLIND = 1e-3
"""A network is blind to a change of its input that changes its output by less than this share."""
ADDED, FACTOR = 3.0, 2.0
"""The changes: a constant that is added to every pixel, in model space, and a factor of every pixel."""


@dataclass(frozen=True)
class Sensitivity:
    """The relative change of a network's output if its input becomes brighter, or gains contrast."""

    brightness: float
    contrast: float

    @classmethod
    @torch.no_grad()
    def of(cls, network: nn.Module, shape: Sequence[int], timesteps: int) -> Self:
        """Measure a network that maps xt (N, C, H, W) and t (N,), for `shape` (C, H, W), on noise at the middle t.

        Both are NaN if its output is 0 or isn't finite.
        """
        device = next(network.parameters()).device
        xt = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(device)
        was_training = network.training
        network.eval()
        inputs, t = torch.cat([xt, xt + ADDED, FACTOR * xt]), torch.full((3,), timesteps // 2, device=device)
        output, brighter, stronger = network(inputs, t).double()
        network.train(was_training)
        changes = ((changed - output).norm() / output.norm() for changed in (brighter, stronger))
        return cls(*map(float, changes))

    @property
    def blind_to(self) -> str:
        """The properties that the network can't see: `brightness`, `contrast`, both joined by `and`, or ""."""
        values = {"brightness": self.brightness, "contrast": self.contrast}
        return " and ".join(name for name, change in values.items() if change < BLIND)

    def text(self, name: str) -> str:
        """Say in a sentence what the network of this name can't see, and how that was measured; "" if it sees all."""
        if not self.blind_to:
            return ""
        return (
            f"The network {name} can't see the {self.blind_to} of its input, and can't correct what it can't see: "
            f"its output changes by {self.brightness:.1g} of its size if {ADDED:g} is added to every pixel of the "
            f"input, and by {self.contrast:.1g} if every pixel is doubled."
        )
