"""NL-Bayes (Lebrun, Buades & Morel, SIAM J. Imaging Sciences 2013): patches that are alike form a Gaussian family.

Each patch's most similar patches nearby give the mean and the covariance of the family, and Wiener's formula denoises
all of them. The second step takes the family from the result of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.methods.classical.pictures import Picture, from_orthogonal, is_small, to_orthogonal

FAR = 1e3
"""Value around a picture; patches that contain it are similar to none inside."""
BAND = 512
"""Number of patches that are denoised at once, which bounds the memory."""


@dataclass(frozen=True)
class Options:
    """The settings of one step."""

    side: int
    """Side of a patch."""
    stride: int
    """Distance of the patches whose families are formed."""
    similar: int
    """Number of patches in a family."""
    radius: int
    """Largest shift of a similar patch."""
    strength: float
    """Factor of the noise variance that is subtracted (first step) or added (second step)."""
    compared: int | None = None
    """Number of channels in which patches are compared; None: all."""


SMALL = Options(5, 2, 30, 10, 1.8, compared=1), Options(4, 2, 20, 10, 1.0)
"""The settings of both steps for small pictures, in which fewer patches are alike: those for large ones are worse
there, by 1.3 dB at sigma 25 and 0.8 dB at sigma 50."""
WEAK = Options(6, 4, 90, 10, 1.8, compared=1), Options(5, 3, 90, 10, 1.0)
STRONG = Options(8, 5, 90, 10, 1.8, compared=1), Options(6, 4, 120, 10, 1.0)
"""The settings of both steps for weak and for strong noise; smaller strides take twice the time for 0.05 dB at most."""
STRONG_NOISE = 18 / 255
"""Standard deviation from which noise is strong."""


def nl_bayes(y: Picture, sigma: float) -> Picture:
    """Denoise a picture in orthogonal colours; the settings were tuned on chelsea, coffee, a tissue and bricks."""
    first, second = SMALL if is_small(*y.shape[1:]) else WEAK if sigma < STRONG_NOISE else STRONG
    noisy = torch.from_numpy(to_orthogonal(y)).float()
    basic = _step(noisy, noisy, sigma, first, _subtract_noise)
    return from_orthogonal(_step(noisy, basic, sigma, second, _wiener).double().numpy())


Formula: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
"""Denoises groups of patches (B, n, C, d), given the same patches of the guide, and the variance of the noise."""


def _step(noisy: Tensor, guide: Tensor, sigma: float, options: Options, formula: Formula) -> Tensor:
    """Denoise a picture (C, H, W), with families from the guide."""
    side, (channels, height, width) = options.side, noisy.shape
    extra = [-(length - side) % options.stride for length in (height, width)]
    is_own_guide = guide is noisy
    noisy, guide = (F.pad(image[None], (0, extra[1], 0, extra[0]), mode="replicate")[0] for image in (noisy, guide))
    patches = _patches(noisy, side)
    guides = patches if is_own_guide else _patches(guide, side)
    total, count = torch.zeros_like(patches), torch.zeros(len(patches), 1)
    for similar in _similar(guide[: options.compared], options):
        shape = (*similar.shape, channels, -1)
        group, family = patches[similar].view(shape), guides[similar].view(shape)
        denoised = formula(group, family, options.strength * sigma**2).flatten(2)
        total.index_add_(0, similar.flatten(), denoised.flatten(0, 1))
        count.index_add_(0, similar.flatten(), torch.ones(similar.numel(), 1))
    summed = F.fold(total.T[None], noisy.shape[1:], side)[0]
    weight = F.fold(count.expand(-1, side * side).T[None], noisy.shape[1:], side)[0]
    return (summed / weight)[:, :height, :width]


def _patches(image: Tensor, side: int) -> Tensor:
    """Return all patches of a picture (C, H, W), (rows * columns, C * side * side)."""
    return F.unfold(image[None], side)[0].T.contiguous()


def _similar(guide: Tensor, options: Options) -> Iterator[Tensor]:
    """Yield, for a band of patches at a time, the indices of each one's most similar patches, (B, n)."""
    side, stride, radius = options.side, options.stride, options.radius
    padded = F.pad(guide, (radius, radius, radius, radius), value=FAR)
    shifts = torch.arange(2 * radius + 1)
    shifts = torch.cartesian_prod(shifts, shifts)
    width = guide.shape[2]
    rows, columns = (length - side + 1 for length in guide.shape[1:])
    down, across = (rows - 1) // stride + 1, (columns - 1) // stride + 1
    # In a corner there are fewer shifts than elsewhere.
    count = min(options.similar, (min(radius, rows - 1) + 1) * (min(radius, columns - 1) + 1))
    band = max(1, BAND // across)
    for begin in range(0, down, band):
        top = begin * stride
        bottom = (min(begin + band, down) - 1) * stride + side
        part = guide[:, top:bottom]
        distances = torch.empty(len(shifts), min(begin + band, down) - begin, across)
        for index, (dy, dx) in enumerate(shifts.tolist()):
            other = padded[:, top + dy : bottom + dy, dx : dx + width]
            difference = (part - other).square_().sum(0, keepdim=True)
            distances[index] = F.avg_pool2d(difference, side, stride)[0]
        chosen = distances.flatten(1).T.topk(count, largest=False).indices
        row = torch.arange(begin, begin + distances.shape[1])[:, None] * stride
        column = torch.arange(across)[None] * stride
        moved = (shifts[chosen] - radius).view(len(row), across, -1, 2)
        yield ((row[..., None] + moved[..., 0]) * columns + column[..., None] + moved[..., 1]).flatten(0, 1)


def _subtract_noise(group: Tensor, family: Tensor, variance: float) -> Tensor:
    """Denoise channel by channel: the family's covariance is that of the noisy patches without the noise."""
    del family
    parts = group.movedim(2, 1)
    mean = parts.mean(2, keepdim=True)
    centred = parts - mean
    values, vectors = torch.linalg.eigh(centred.mT @ centred / (parts.shape[2] - 1))
    gain = (1 - variance / values.clamp(min=1e-12)).clamp(min=0)
    denoised: Tensor = mean + (centred @ vectors * gain[..., None, :]) @ vectors.mT
    return denoised.movedim(1, 2)


def _wiener(group: Tensor, family: Tensor, variance: float) -> Tensor:
    """Denoise all channels together by Wiener's formula, with the mean and the covariance of the family."""
    noisy, known = group.flatten(2), family.flatten(2)
    mean = known.mean(1, keepdim=True)
    centred = known - mean
    covariance = centred.mT @ centred / (known.shape[1] - 1)
    factor = torch.linalg.cholesky(covariance + variance * torch.eye(covariance.shape[1]))
    denoised: Tensor = noisy - variance * ((noisy - mean) @ torch.cholesky_inverse(factor))
    return denoised.view(group.shape)
