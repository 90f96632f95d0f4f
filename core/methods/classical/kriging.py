"""Kriging of missing pixels: predict them from the correlations within the image, without any training."""

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
"""One channel of one image, (H, W)."""

MAX_PIXELS = 4096
"""Largest number of measured pixels in a plane; with more, covariances would take the machine's memory and minutes."""
ITERATIONS = 30
"""Steps of Adam that fit a plane's parameters."""
RATE = 0.2
"""Learning rate of Adam, on the logarithms of the lengths and of the deviation."""
LENGTH, LENGTHS = 4.0, 1.5
"""Prior of the correlation lengths: median in pixels, and standard deviation of the logarithm."""
DEVIATION, DEVIATIONS = 0.25, 1.0
"""Prior of the field's standard deviation, images being in [0, 1]: median, and standard deviation of the logarithm."""
LEAST_NOISE = (1 / 255) ** 2
"""Smallest noise variance; without noise, covariance matrices would be numerically singular."""


def krige(y: Tensor, measured: Tensor, variance: Tensor) -> Tensor:
    """Fill in images (N, C, H, W) from y where `measured`, shaped like y, is 0; y has noise of a `variance` (N,).

    This is ordinary kriging, the posterior mean of a Gaussian process whose own mean is unknown (Rasmussen & Williams
    2006, sections 2.2 and 2.7), plane by plane. The covariance of two pixels is a mixture of exp(-d) and of Matern's
    function with smoothness 3/2. Here d is their distance in units of two lengths along two orthogonal axes of any
    direction, because edges have a direction. Lengths, axes, mixture share and deviation are fitted to each plane by
    maximum marginal likelihood (section 5.4.1) with a broad prior. All planes are fitted at once. Pixels measured
    without noise stay unchanged; pixels measured with noise are replaced by the posterior mean.

    If more than `MAX_PIXELS` pixels of a plane are measured, biharmonic inpainting is used instead.
    """
    planes, known = y.flatten(0, 1), measured.flatten(0, 1) != 0
    if not len(planes) or known.flatten(1).sum(1).max() > MAX_PIXELS:
        return inpaint(y, measured)
    noise = variance.clamp(min=LEAST_NOISE).repeat_interleave(y.shape[1])
    interpolated = GaussianField(planes, known, noise).mean().view(y.shape)
    exact = (variance == 0).view(-1, 1, 1, 1) & (measured != 0)
    return torch.where(exact, y, interpolated)


def inpaint(y: Tensor, measured: Tensor) -> Tensor:
    """Fill in images y (N, C, H, W) by biharmonic inpainting where `measured`, shaped like y, is 0."""
    return map_planes(_inpaint_plane, y, measured)


def map_planes(method: Callable[..., Plane], *inputs: Tensor) -> Tensor:
    """Apply a method for single planes to all channels of all images; returns a tensor on the inputs' device."""
    planes = [tensor.double().cpu().flatten(0, 1).numpy() for tensor in inputs]
    results = np.stack([method(*plane) for plane in zip(*planes, strict=True)])
    return torch.from_numpy(results).float().view(*inputs[0].shape[:2], *results.shape[1:]).to(inputs[0].device)


def _inpaint_plane(y: Plane, measured: Plane) -> Plane:
    filled: Plane = inpaint_biharmonic(y, measured == 0)
    return filled


def cholesky(covariance: Tensor) -> Tensor:
    """Return the Cholesky factors of covariance matrices (P, n, n).

    The diagonal of a matrix that rounding has made indefinite is raised until it isn't.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    raised = LEAST_NOISE
    while bool(failed.any()) and raised < 1:
        raised *= 10
        share = torch.where(failed > 0, raised, 0.0).view(-1, 1)
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        factor, failed = torch.linalg.cholesky_ex(covariance + torch.diag_embed(share * diagonal))
    return factor


def covariances(logs: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return the covariance of pixels a displacement apart, (P, D), for fields with the parameters `logs` (P, 5).

    The parameters are two log lengths, the first's angle, the log deviation, and the logit of exp's share.
    """
    first, second, angle, deviation, share = (part[:, None] for part in logs.unbind(1))
    along = (down * angle.cos() + right * angle.sin()) / first.exp()
    across = (right * angle.cos() - down * angle.sin()) / second.exp()
    distance = (along.square() + across.square() + 1e-12).sqrt()
    smooth = math.sqrt(3) * distance
    share = share.sigmoid()
    correlation: Tensor = share * (-distance).exp() + (1 - share) * (1 + smooth) * (-smooth).exp()
    return (2 * deviation).exp() * correlation


class GaussianField:
    """A Gaussian process for each plane (P, H, W), fitted to its known pixels, whose noise has a variance (P,).

    The covariance of two pixels depends on their displacement alone. A grid has few displacements, so the covariances
    are read from a table over them.
    """

    def __init__(self, planes: Tensor, known: Tensor, noise: Tensor) -> None:
        self.height, self.width = planes.shape[1:]
        flat = known.flatten(1)
        count = int(flat.sum(1).max())
        # Measured pixels come first; planes with fewer are padded with pixels that correlate with no other pixel.
        self.indices = flat.int().argsort(dim=1, descending=True, stable=True)[:, :count]
        self.is_measured = flat.gather(1, self.indices)
        self.values = planes.flatten(1).gather(1, self.indices) * self.is_measured
        self.noise = noise.to(planes)
        self.displacements = self._displacements().to(planes)
        self.within = self._entries(self.indices[:, :, None], self.indices[:, None, :])
        self.pairs = self.is_measured[:, :, None] & self.is_measured[:, None, :]
        self.logs = planes.new_tensor([math.log(LENGTH), math.log(LENGTH), 0.0, math.log(DEVIATION), 0.0])
        self.logs = self.logs.repeat(len(planes), 1)
        """Parameters of each plane, (P, 5)."""
        self._fit()

    def mean(self) -> Tensor:
        """Return the posterior mean at every pixel, (P, H, W)."""
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
                # The gradient of the negative log likelihood with respect to each covariance.
                slope = 0.5 * (torch.cholesky_inverse(factor) - weights[:, :, None] * weights[:, None, :]) * self.pairs
                by_table = torch.zeros_like(table).scatter_add(1, self.within.flatten(1), slope.flatten(1))
            lengths = ((self.logs[:, :2] - math.log(LENGTH)) / LENGTHS).square().sum()
            deviation = ((self.logs[:, 3] - math.log(DEVIATION)) / DEVIATIONS).square().sum()
            optimiser.zero_grad()
            ((by_table * table).sum() + 0.5 * (lengths + deviation)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        self.logs = self.logs.detach()

    def _solved(self, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return K^-1 (values - level) (P, n), the level (P,), which is the field's mean, and K's Cholesky factor."""
        covariance = table.gather(1, self.within.flatten(1)).view(self.within.shape) * self.pairs
        covariance = covariance + torch.diag_embed(torch.where(self.is_measured, self.noise[:, None], 1.0))
        factor = cholesky(covariance)
        solved = torch.cholesky_solve(torch.stack([self.values, self.is_measured.to(table)], 2), factor)
        level = solved[..., 0].sum(1) / solved[..., 1].sum(1).clamp(min=1e-12)  # 0 for a plane without measured pixels
        return solved[..., 0] - level[:, None] * solved[..., 1], level, factor

    def _table(self, logs: Tensor) -> Tensor:
        """Return the covariance at every displacement, (P, D)."""
        down, right = self.displacements
        return covariances(logs, down, right)

    def _displacements(self) -> Tensor:
        down = torch.arange(1 - self.height, self.height)
        right = torch.arange(1 - self.width, self.width)
        return torch.stack(torch.meshgrid(down, right, indexing="ij")).flatten(1)

    def _entries(self, ends: Tensor, begins: Tensor) -> Tensor:
        """Return the table indices of the displacements from the pixels `begins` to the pixels `ends`."""
        down = ends // self.width - begins // self.width + self.height - 1
        right = ends % self.width - begins % self.width + self.width - 1
        return down * (2 * self.width - 1) + right
