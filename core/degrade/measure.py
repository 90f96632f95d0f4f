"""Simulated measurements: a task's operator and noise, applied to true images one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipddpm.core.config.tasks import Deblur, Inpaint, Superres, TaskOptions
from dipddpm.core.degrade.noise import (
    GaussianNoise,
    Noise,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltAndPepper,
    UnknownNoise,
)
from dipddpm.core.degrade.operators import BlockMean, CircularBlur, Identity, Mask, Operator
from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.io.kernels import read_kernel
from dipddpm.core.io.masks import read_mask


@dataclass
class Degradation:
    """y = A x + noise, for images of one size."""

    operator: Operator
    noise: Noise
    blind: bool = False
    """If True, methods may use the kind of noise but not its level."""

    @classmethod
    def from_task(cls, task: TaskOptions, size: tuple[int, int], generator: torch.Generator) -> Degradation:
        """Return a task's degradation of one image of (H, W), on the generator's device, and draw any random mask.

        Raises UserError if the mask file's size differs from the image's, if the mask leaves or misses no pixel, and
        for a kernel file that `read_kernel` refuses.
        """
        sigma = task.sigma / 255
        noise: Noise = {
            "gaussian": GaussianNoise(sigma),
            "poisson": PoissonNoise(task.photons),
            "poisson-gaussian": PoissonGaussianNoise(task.photons, sigma),
            "salt-and-pepper": SaltAndPepper(task.hit),
            "unknown": UnknownNoise(),
        }[task.noise]
        operator: Operator = Identity()
        if isinstance(task, Inpaint):
            operator = Mask(_mask(task, size, generator))
        elif isinstance(task, Superres):
            operator = BlockMean(task.factor, size, generator.device)
        elif isinstance(task, Deblur):
            operator = CircularBlur(_kernel(task).to(generator.device), size)
        return cls(operator, noise, task.blind)

    def measure(self, x0: Tensor, generator: torch.Generator) -> Tensor:
        """Measure true images (N, C, H, W) in [0, 1]; y is 0 where nothing is measured, and never clipped."""
        y = self.noise.add(self.operator.A(x0), generator)
        return y * self.operator.measured(y)

    def expected_residual(self, y: Tensor) -> Tensor | None:
        """Return the expected mean of (y - A x)^2 over measured values at the true x, (N,); None if it is unknown."""
        return None if self.blind else self.noise.variance(y, self.operator.measured(y))

    def misfit(self, images: Tensor, y: Tensor, where: Tensor | None = None) -> Tensor:
        """Return the root mean square of A x - y over the measured values, or those where a mask is 1, (N,)."""
        where = self.operator.measured(y) if where is None else where
        difference = (self.operator.A(images) - y) * where
        return (difference.square().flatten(1).sum(1) / where.flatten(1).sum(1)).sqrt()

    def select(self, indices: list[int]) -> Degradation:
        """Return the degradation of the images with these indices."""
        return replace(self, operator=self.operator.select(indices))

    def to(self, device: torch.device | str) -> Degradation:
        """Copy this degradation to a device, without changing the original."""
        return replace(self, operator=self.operator.to(device))


def image_size(task: TaskOptions, measured: tuple[int, int]) -> tuple[int, int]:
    """Return the size (H, W) of the image to restore from measurements of a size."""
    return task.enlargement * measured[0], task.enlargement * measured[1]


def degrade(task: TaskOptions, x0: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Degradation]:
    """Measure true images (N, C, H, W), each with its own seed; return the measurements and their degradation.

    The random draws are made on the CPU, so an image's y depends on its seed alone, not on the device or the other
    images. The results are on the device of `x0`.
    """
    measurements, degradations = [], []
    for image, seed in zip(torch.split(x0.cpu(), 1), seeds, strict=True):
        generator = torch.Generator().manual_seed(seed)
        degradations.append(Degradation.from_task(task, (image.shape[2], image.shape[3]), generator))
        measurements.append(degradations[-1].measure(image, generator))
    combined = degradations[0]
    if isinstance(combined.operator, Mask):
        masks = [d.operator.mask for d in degradations if isinstance(d.operator, Mask)]
        combined = replace(combined, operator=Mask(torch.cat(masks)))
    return torch.cat(measurements).to(x0.device), combined.to(x0.device)


def _kernel(task: Deblur) -> Tensor:
    if task.kernel == "file":
        return torch.from_numpy(read_kernel(task.file))
    return gaussian_kernel(task.width) if task.kernel == "gaussian" else motion_kernel(task.width, task.angle)


def gaussian_kernel(width: float) -> Tensor:
    """Return a Gaussian kernel of standard deviation `width` pixels, cut off at 4 `width`, with sum 1."""
    radius = max(1, math.ceil(4 * width))
    line = torch.softmax(-torch.arange(-radius, radius + 1).double().square() / (2 * width**2), 0)
    return torch.outer(line, line)


def motion_kernel(length: float, angle: float) -> Tensor:
    """Return a motion kernel: a straight line of `length` pixels through the centre, with sum 1.

    `angle` is in degrees from the x axis, counter-clockwise. Each point of the line is distributed bilinearly over the
    four pixels around it.
    """
    radius = math.ceil(length / 2) + 1
    along = torch.linspace(-0.5, 0.5, 64 * radius + 1, dtype=torch.float64) * max(length - 1, 0)
    x = radius + along * math.cos(math.radians(angle))
    y = radius - along * math.sin(math.radians(angle))
    kernel = torch.zeros(2 * radius + 1, 2 * radius + 1, dtype=torch.float64)
    for dx in (0, 1):
        for dy in (0, 1):
            share = (1 - (x - (x.floor() + dx)).abs()) * (1 - (y - (y.floor() + dy)).abs())
            kernel.index_put_((y.long() + dy, x.long() + dx), share, accumulate=True)
    return kernel / kernel.sum()


def _mask(task: Inpaint, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Return the task's mask (1, 1, H, W), 1 at measured pixels; a random mask has exactly the task's missing share."""
    height, width = size
    if task.mask:
        mask = torch.tensor(read_mask(home.expand(task.mask), size), dtype=torch.float32)[None, None]
    elif task.box:
        mask = torch.ones(1, 1, height, width)
        top, left = max(0, (height - task.box) // 2), max(0, (width - task.box) // 2)
        mask[..., top : top + task.box, left : left + task.box] = 0
    else:
        order = torch.randperm(height * width, generator=generator, device=generator.device)
        measured = order >= round(task.missing * height * width)
        mask = measured.float().view(1, 1, height, width)
    if not mask.any():
        raise UserError("The mask leaves no pixel.", "Give a smaller box or a smaller share.")
    return mask.to(generator.device)
