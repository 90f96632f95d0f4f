"""A case: the measurements that a method restores images from, made in the same way for every kind of run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.tasks import Inpaint, TaskOptions
from dipddpm.core.degrade.measure import Degradation, degrade, image_size
from dipddpm.core.errors import UserError


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

    @classmethod
    def given(cls, y: Tensor, task: TaskOptions, seed: int) -> Self:
        """Take measurements (N, C, h, w) as they are; only values that a mask calls missing become 0.

        Methods draw the same random numbers as in a case that `of` makes with this seed. Raises UserError for a random
        mask, which can't be known, and for a mask file of another size.
        """
        if isinstance(task, Inpaint) and not (task.mask or task.box):
            problem = "It isn't known which pixels of the given picture are missing."
            raise UserError(problem, "Give a mask file, in which they are black and all others are white.")
        n, c, h, w = y.shape
        size = image_size(task, (h, w))
        degradation = Degradation.from_task(task, size, torch.Generator()).to(y.device)
        y = y * degradation.operator.measured(y)
        return cls(y, degradation, (n, c, *size), seed=derive(seed, "restoration"))

    def select(self, indices: list[int]) -> Self:
        """Return the case of the images with these indices, with the same seed."""
        shape = (len(indices), *self.shape[1:])
        return replace(self, y=self.y[indices], degradation=self.degradation.select(indices), shape=shape)

    def to(self, device: torch.device | str) -> Self:
        """Copy the case to a device."""
        return replace(self, y=self.y.to(device), degradation=self.degradation.to(device))
