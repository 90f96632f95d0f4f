"""Missing pixels by kriging: what an image's own correlations say of them, without learning anything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

Plane: TypeAlias = NDArray[np.float64]


MAX_PIXELS = 4096
"""Measured pixels of an image; of more, the covariances would take the machine's memory and minutes."""
ITERATIONS = 30
RATE = 0.2
"""Of Adam, on the logarithms of lengths and deviation."""
LENGTH, LENGTHS = 4.0, 1.5
DEVIATION, DEVIATIONS = 0.25, 1.0
"""What is expected of lengths (pixels) and deviation (of images in [0, 1]), and the deviation of their logarithms."""
LEAST_NOISE = (1 / 255) ** 2
"""A variance: without any, covariances would be singular to rounding."""


def krige(y: Tensor, measured: Tensor, variance: Tensor) -> Tensor:
    """Images (N, C, H, W) from y, where `measured`, shaped like it, is not 0; the noise has a `variance` (N,).

    Ordinary kriging, or the mean of a Gaussian process whose own mean is unknown (Rasmussen & Williams 2006, sections
    2.2 and 2.7), plane by plane. The covariance of two pixels is a share of exp(-d) and the rest of Matern's with
    smoothness 3/2, where d is their distance in units of two lengths along two axes that may point anywhere: edges have
    a direction. Lengths, axes, share and deviation are those that make each plane's measured pixels likeliest (section
    5.4.1), with a broad prior. All planes are worked on at once. What is measured without noise stays as it is.

    Where more than `MAX_PIXELS` pixels of a plane are measured it is biharmonic inpainting instead.
    """
    planes, known = y.flatten(0, 1), measured.flatten(0, 1) != 0
    if not len(planes) or known.flatten(1).sum(1).max() > MAX_PIXELS:
        return inpaint(y, measured)
    noise = variance.clamp(min=LEAST_NOISE).repeat_interleave(y.shape[1])
    interpolated = GaussianField(planes, known, noise).mean().view(y.shape)
    exact = (variance == 0).view(-1, 1, 1, 1) & (measured != 0)
    return torch.where(exact, y, interpolated)


def inpaint(y: Tensor, measured: Tensor) -> Tensor:
    """Images (N, C, H, W) that are y where `measured`, shaped like y, is not 0, and smooth between."""
    return map_planes(_inpaint_plane, y, measured)


def map_planes(method: Callable[..., Plane], *inputs: Tensor) -> Tensor:
    """A method for one plane, applied to all channels of all images; on the inputs' device."""
    planes = [tensor.double().cpu().flatten(0, 1).numpy() for tensor in inputs]
    results = np.stack([method(*plane) for plane in zip(*planes, strict=True)])
    return torch.from_numpy(results).float().view(*inputs[0].shape[:2], *results.shape[1:]).to(inputs[0].device)


def _inpaint_plane(y: Plane, measured: Plane) -> Plane:
    filled: Plane = inpaint_biharmonic(y, measured == 0)
    return filled


class GaussianField:
    """A Gaussian process for each plane (P, H, W), fitted to its known pixels, which have noise of a variance (P,).

    A covariance depends on how far two pixels are apart, of which there are few ways on a grid: covariances are looked
    up in a table of these.
    """

    def __init__(self, planes: Tensor, known: Tensor, noise: Tensor) -> None:
        self.height, self.width = planes.shape[1:]
        flat = known.flatten(1)
        count = int(flat.sum(1).max())
        # The measured pixels first; planes with fewer are filled up with pixels that are tied to nothing.
        self.indices = flat.int().argsort(dim=1, descending=True, stable=True)[:, :count]
        self.is_measured = flat.gather(1, self.indices)
        self.values = planes.flatten(1).gather(1, self.indices) * self.is_measured
        self.noise = noise.to(planes)
        self.displacements = self._displacements().to(planes)
        self.within = self._entries(self.indices[:, :, None], self.indices[:, None, :])
        self.pairs = self.is_measured[:, :, None] & self.is_measured[:, None, :]
        self.logs = planes.new_tensor([math.log(LENGTH), math.log(LENGTH), 0.0, math.log(DEVIATION), 0.0])
        self.logs = self.logs.repeat(len(planes), 1)
        """Of each plane: log lengths, the angle of the first, log deviation, and the logit of exp's share, (P, 5)."""
        self._fit()

    def mean(self) -> Tensor:
        """What is expected of every pixel, (P, H, W)."""
        table = self._table(self.logs)
        weights, level, _ = self._solved(table)
        everywhere = torch.arange(self.height * self.width, device=table.device)
        entries = self._entries(everywhere[None, :, None], self.indices[:, None, :])
        covariances = table.gather(1, entries.flatten(1)).view(entries.shape) * self.is_measured[:, None, :]
        return (level[:, None] + (covariances @ weights[:, :, None])[..., 0]).view(-1, self.height, self.width)

    def _fit(self) -> None:
        self.logs.requires_grad_(True)
        optimiser = torch.optim.Adam([self.logs], RATE)
        for _ in range(ITERATIONS):
            table = self._table(self.logs)
            with torch.no_grad():
                weights, _, factor = self._solved(table)
                # Of the negative logarithm of the likelihood, by each covariance.
                slope = 0.5 * (torch.cholesky_inverse(factor) - weights[:, :, None] * weights[:, None, :]) * self.pairs
                by_table = torch.zeros_like(table).scatter_add(1, self.within.flatten(1), slope.flatten(1))
            lengths = ((self.logs[:, :2] - math.log(LENGTH)) / LENGTHS).square().sum()
            deviation = ((self.logs[:, 3] - math.log(DEVIATION)) / DEVIATIONS).square().sum()
            optimiser.zero_grad()
            ((by_table * table).sum() + 0.5 * (lengths + deviation)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        self.logs = self.logs.detach()

    def _solved(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The inverse covariance times the values less their level (P, n), that level (P,), and the Cholesky factor."""
        covariance = table.gather(1, self.within.flatten(1)).view(self.within.shape) * self.pairs
        covariance = covariance + torch.diag_embed(torch.where(self.is_measured, self.noise[:, None], 1.0))
        factor = torch.linalg.cholesky(covariance)
        solved = torch.cholesky_solve(torch.stack([self.values, self.is_measured.to(table)], 2), factor)
        level = solved[..., 0].sum(1) / solved[..., 1].sum(1).clamp(min=1e-12)  # 0 where nothing is known
        return solved[..., 0] - level[:, None] * solved[..., 1], level, factor

    def _table(self, logs: Tensor) -> Tensor:
        """The covariance at every displacement, (P, D)."""
        first, second, angle, deviation, share = (part[:, None] for part in logs.unbind(1))
        down, right = self.displacements
        along = (down * angle.cos() + right * angle.sin()) / first.exp()
        across = (right * angle.cos() - down * angle.sin()) / second.exp()
        distance = (along.square() + across.square() + 1e-12).sqrt()
        smooth = math.sqrt(3) * distance
        share = share.sigmoid()
        correlation: Tensor = share * (-distance).exp() + (1 - share) * (1 + smooth) * (-smooth).exp()
        return (2 * deviation).exp() * correlation

    def _displacements(self) -> Tensor:
        down = torch.arange(1 - self.height, self.height)
        right = torch.arange(1 - self.width, self.width)
        return torch.stack(torch.meshgrid(down, right, indexing="ij")).flatten(1)

    def _entries(self, ends: Tensor, begins: Tensor) -> Tensor:
        """Where in the table the displacements between pixels stand."""
        down = ends // self.width - begins // self.width + self.height - 1
        right = ends % self.width - begins % self.width + self.width - 1
        return down * (2 * self.width - 1) + right
