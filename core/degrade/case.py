"""A case: the measurements that a method restores images from, made in the same way for every kind of run."""

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
    """Measurements of N images of one size, with everything that a method may know of them, so without the truth."""

    y: Tensor
    """The measurements, never clipped, on the device of the computation."""
    degradation: Degradation
    """The operator and the noise; `expected_residual` is None if methods must not know the noise level."""
    shape: tuple[int, int, int, int]
    """The shape (N, C, H, W) of the images to restore."""
    seed: int = 0
    """The seed of the method's own random draws."""

    @classmethod
    def of(
        cls, truth: Tensor, task: TaskOptions, labels: Sequence[str], seed: int, *, purpose: str = "measurement"
    ) -> Self:
        """Measure true images (N, C, H, W) in [0, 1], on their device.

        The random draws of an image depend only on the run's seed, its label and the purpose, so an image has the
        same measurement in every run with this seed that gives it the same label. Raises UserError for unknown noise.
        """
        y, degradation = degrade(task, truth, [derive(seed, f"{purpose} of {label}") for label in labels])
        n, c, h, w = truth.shape
        return cls(y, degradation, (n, c, h, w), seed=derive(seed, "restoration"))

    def to(self, device: torch.device | str) -> Self:
        """Copy the case to a device."""
        return replace(self, y=self.y.to(device), degradation=self.degradation.to(device))
