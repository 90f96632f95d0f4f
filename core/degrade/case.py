"""The measurements that a method restores images from: made in one place, for every kind of run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.tasks import TaskOptions
from dipddpm.core.degrade.measure import Degradation, degrade


@dataclass(frozen=True)
class Case:
    """Measurements of N images of one size, as far as a method may know them. The truth is not among them."""

    y: Tensor
    """The measurements, never clipped, on the device that the work is done on."""
    degradation: Degradation
    """The operator and the noise; `expected_residual` is None where methods must not know the noise level."""
    shape: tuple[int, int, int, int]
    """(N, C, H, W) of the images wanted."""
    seed: int = 0
    """Seed of the method's own random draws."""

    @classmethod
    def of(
        cls, truth: Tensor, task: TaskOptions, labels: Sequence[str], seed: int, *, purpose: str = "measurement"
    ) -> Self:
        """Measure true images (N, C, H, W) in [0, 1], on their device.

        The random draws of an image depend on the run's seed, its label and the purpose alone, so an image has the
        same measurement in every run that names it alike.
        """
        y, degradation = degrade(task, truth, [derive(seed, f"{purpose} of {label}") for label in labels])
        n, c, h, w = truth.shape
        return cls(y, degradation, (n, c, h, w), seed=derive(seed, "restoration"))

    def to(self, device: torch.device | str) -> Self:
        """Copy the case to a device."""
        return replace(self, y=self.y.to(device), degradation=self.degradation.to(device))
