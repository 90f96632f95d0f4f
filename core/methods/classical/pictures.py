"""The steps that the classic methods share: pictures one by one, orthogonal colours, and noise of a known level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct, idct
from scipy.ndimage import distance_transform_edt, median_filter
from torch import Tensor

from dipddpm.core.degrade import (
    BlockMean,
    CircularBlur,
    Identity,
    Mask,
    MaskedOperator,
    Operator,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import without_impulses
from dipddpm.core.degrade.stabilize import stabilize

Picture: TypeAlias = NDArray[np.float64]
"""One image, (C, H, W)."""
TASK_NAMES = {Identity: "denoise", Mask: "inpaint", BlockMean: "superres", CircularBlur: "deblur"}
SMALL = 64 * 64
"""Largest number of pixels of a small picture; some methods have other settings for them, which were tuned on twelve
training images of FashionMNIST and twelve each of glyphs, patches and leaves (28x28, from number 100,000 on)."""
LEAST_SIDE = 16
"""Pictures with a shorter side are extended by mirroring, since patches and wavelets need some pixels."""


def map_pictures(method: Callable[..., Picture], *inputs: Tensor) -> Tensor:
    """Apply a method for single pictures to N of them, each input (N, C, H, W); the result is float32 like the first.

    The method gets pictures of at least 16x16 pixels, so sides may have any length.
    """
    height, width = inputs[0].shape[2:]
    sides = [(0, max(0, LEAST_SIDE - side)) for side in (height, width)]
    arrays = [np.pad(tensor.double().cpu().numpy(), [(0, 0), (0, 0), *sides], mode="symmetric") for tensor in inputs]
    results = np.stack([method(*pictures) for pictures in zip(*arrays, strict=True)])
    return torch.from_numpy(results[..., :height, :width]).float().to(inputs[0].device)


def is_small(height: int, width: int) -> bool:
    """Return whether a picture of this size is restored with the settings for small ones."""
    return height * width <= SMALL


def to_orthogonal(picture: Picture) -> Picture:
    """Return the mean of the channels, times sqrt(C), and their differences: white noise stays white and as strong.

    These are the opponent colours of an RGB picture; a grey picture stays as it is.
    """
    transformed: Picture = dct(picture, axis=0, norm="ortho")
    return transformed


def from_orthogonal(transformed: Picture) -> Picture:
    """Return the picture whose orthogonal colours are given."""
    picture: Picture = idct(transformed, axis=0, norm="ortho")
    return picture


def median(y: Tensor, size: int) -> Tensor:
    """Return the median of the size x size pixels around each pixel of images (N, C, H, W)."""
    filtered = median_filter(y.double().cpu().numpy(), size=(1, 1, size, size), mode="reflect")
    return torch.from_numpy(filtered).to(y)


def with_gaussian_noise(case: Case) -> tuple[Case, float, Callable[[Tensor], Tensor]]:
    """Return the case with Gaussian noise, its standard deviation, and the map from its restoration to images.

    Impulses are masked out where a median detects them, photon counts are stabilised, and a level that isn't known is
    estimated.
    """
    if isinstance(case.degradation.noise, SaltAndPepper) and task_of(case.degradation.operator) in (
        "denoise",
        "inpaint",
    ):
        case = without_impulses(case, median(_nearest(case), impulse_window(case.degradation.noise.hit)))
    case = replace(case, degradation=with_noise_level(case.y, case.degradation))
    case, inverse = stabilize(_with_one_mask(case))
    variance = case.degradation.expected_residual(case.y)
    sigma = 0.0 if variance is None else float(variance.clamp(min=0).mean().sqrt())
    return case, sigma, inverse


def task_of(operator: Operator) -> str:
    """Return the name of the task that has this operator; hidden measurements don't change it."""
    if isinstance(operator, MaskedOperator):
        return task_of(operator.inner)
    return next(name for kind, name in TASK_NAMES.items() if isinstance(operator, kind))


def _with_one_mask(case: Case) -> Case:
    """Return the case with a `Mask` where pixels are hidden from the method in all channels."""
    operator = case.degradation.operator
    measured = operator.measured(case.y)
    if task_of(operator) not in ("denoise", "inpaint") or isinstance(operator, Identity):
        return case
    if not bool((measured == measured[:, :1]).all()):
        return case
    return replace(case, degradation=replace(case.degradation, operator=Mask(measured[:, :1])))


def impulse_window(hit: float) -> int:
    """Return the side of the median's window for a share of impulses; in a wider window most pixels are intact."""
    return 3 if hit <= 0.25 else 5 if hit <= 0.5 else 7


def _nearest(case: Case) -> Tensor:
    """Return y with each missing pixel replaced by the nearest measured one."""
    filled = []
    for y, measured in zip(case.y, case.degradation.operator.measured(case.y), strict=True):
        missing = (measured[0] == 0).cpu().numpy()
        if missing.all() or not missing.any():
            filled.append(y)
            continue
        rows, columns = distance_transform_edt(missing, return_distances=False, return_indices=True)
        filled.append(y[:, torch.from_numpy(rows).long(), torch.from_numpy(columns).long()])
    return torch.stack(filled)
