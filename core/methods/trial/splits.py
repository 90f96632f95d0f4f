"""The trial's split of the measurements of a picture: candidates restore it from one part, and predict the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade import BlockMean, GaussianNoise, Identity, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.hold_out import hold_out
from dipddpm.core.methods.trial.holes import hide_like_missing
from dipddpm.core.methods.trial.perturbation import (
    HIDDEN,
    SHARE,
    local_mean,
    noise_deviation,
    standard_normal,
    with_impulses,
    with_noise,
    without,
)

BLURRED = 2.0
"""Factor on `SHARE` for a blurred picture, in which candidates differ only faintly."""
BLOCK = 16
"""Side in values of the blocks over which errors are averaged; the errors of different blocks count as independent."""
LEAST_SIDE = 16
"""The least side of a small picture that can stand for a picture which was measured in large pixels."""


@dataclass(frozen=True)
class Split:
    """The case that candidates restore, and the errors of what they predict for the rest of the measurements."""

    case: Case
    errors: Callable[[Tensor], Tensor]
    """Maps images (N, C, H, W) of the case to unbiased estimates of their squared errors, 0 where nothing is held out.

    A single estimate may be negative. It doesn't include the noise of the held-out values.
    """
    where: Tensor
    """1 at the held-out values, 0 elsewhere; shaped like the errors."""
    noise: float
    """The mean variance of the noise in a measured value; 0 if it is unknown."""
    added: Tensor | None = None
    """The fresh noise s z, of which the share b was added to y; None if none was."""

    def mean(self, images: Tensor) -> float:
        """Return the mean squared error at held-out values."""
        return (self.errors(images).sum() / self.where.sum().clamp(min=1)).item()

    def blocks(self, images: Tensor) -> Tensor:
        """Return the parts of the mean squared error that are due to blocks of the images; they add up to it."""
        summed = F.avg_pool2d(self.errors(images), BLOCK, ceil_mode=True, divisor_override=1)
        return summed.sum(1).flatten() / self.where.sum().clamp(min=1)


def split_measurements(case: Case, seed: int) -> Split:
    """Hold out a part of the measurements; which part depends on the degradation.

    - Noise of a known level: none. Fresh noise is added, and the errors are estimated without bias (`_split_noise`).
    - Missing pixels: holes of the shapes of those that are missing, or single pixels if those are single.
    - Impulses: values that are neither black nor white become impulses too.
    - Large pixels: the given picture, measured once more in the same way, has to be restored.
    - A blur: what `hold_out` takes.
    """
    generator = torch.Generator(case.y.device).manual_seed(seed)
    operator, noise = case.degradation.operator, case.degradation.noise
    deviation = noise_deviation(case)
    variance = 0.0 if deviation is None else deviation.square().mean().item()
    if isinstance(noise, SaltAndPepper) and isinstance(operator, Identity | Mask):
        ordinary = (case.y > 0) & (case.y < 1) & (operator.measured(case.y) > 0)
        hidden = ordinary & (torch.rand(case.y.shape, generator=generator, device=case.y.device) < HIDDEN)
        return _hidden(case, with_impulses(case, hidden, generator), hidden.to(case.y.dtype), 0.0)
    if isinstance(operator, Mask):
        holes = hide_like_missing(operator.mask.expand(len(case.y), -1, -1, -1), seed)
        where = holes.to(case.y.dtype).expand_as(case.y)
        return _hidden(case, without(case, holes), where, variance)
    if isinstance(operator, Identity) and deviation is not None:
        return _split_noise(case, deviation, standard_normal(case.y, generator))
    if isinstance(operator, BlockMean) and min(case.y.shape[-2:]) >= LEAST_SIDE * operator.factor:
        return _measure_again(case, operator, variance)
    held_out = hold_out(case, HIDDEN, BLURRED * SHARE, seed)

    def errors(images: Tensor) -> Tensor:
        return ((held_out.predict(images) - held_out.hidden) * held_out.where).square()

    return Split(held_out.case, errors, held_out.where, 0.0)


def _hidden(case: Case, trial_case: Case, where: Tensor, variance: float) -> Split:
    def errors(images: Tensor) -> Tensor:
        return ((images.clamp(0, 1) - case.y).square() - variance) * where

    return Split(trial_case, errors, where, variance)


def _split_noise(case: Case, deviation: Tensor, z: Tensor) -> Split:
    """Add fresh noise b s z to y, whose noise has the standard deviation s.

    The noise of y + b s z and of y - s z / b is independent, so the squared difference between a restoration f of the
    first and the second estimates the error of f without bias (Oliveira, Lei & Tibshirani 2022). Its expectation over
    what z adds by itself is known, and so is that of the product of z with anything made of y alone, such as a
    smoothed y. With both in place of their random values, the estimate is (f - y)^2 + 2 s z (f - smoothed) / b - s^2.
    """
    smoothed = local_mean(case.y, torch.ones_like(case.y), 1)
    scaled = deviation * z

    def errors(images: Tensor) -> Tensor:
        clipped = images.clamp(0, 1)
        return (clipped - case.y).square() + 2 / SHARE * scaled * (clipped - smoothed) - deviation.square()

    variance = deviation.square().mean().item()
    return Split(with_noise(case, SHARE, scaled), errors, torch.ones_like(case.y), variance, scaled)


def _measure_again(case: Case, operator: BlockMean, variance: float) -> Split:
    height, width = case.y.shape[-2:]
    smaller = BlockMean(operator.factor, (height, width), case.y.device)
    noise = case.degradation.noise
    if isinstance(noise, GaussianNoise):
        noise = GaussianNoise(noise.sigma / operator.factor)
    degradation = replace(case.degradation, operator=smaller, noise=noise)
    trial_case = replace(case, y=smaller.A(case.y), degradation=degradation, shape=(*case.y.shape[:2], height, width))
    return _hidden(case, trial_case, torch.ones_like(case.y), variance)
