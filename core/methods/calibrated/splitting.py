"""Split measurements into a part that candidates are made from and a held-out part that they have to predict."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipddpm.core.degrade import (
    BlockMean,
    CircularBlur,
    Degradation,
    GaussianNoise,
    Identity,
    MaskedOperator,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import equalize_spectrum

POOLED_NOISY = 3000.0
"""Smallest pooling strength where the noise is split."""
POOLED_COARSE = 100.0
"""Smallest pooling strength where candidates are made from coarser measurements."""
BLURRED = 2.0
"""Factor on the share b of added noise for a blurred image, in which candidates differ only faintly."""
SCORED = 5.0
"""Frequencies that a blur weakens to no less than so many standard deviations of the noise count as much as the others.

`BLURRED` and `SCORED` are the best of a few values on the images that `stacking.DECIDED` names.
"""


@dataclass(frozen=True)
class HeldOutSplit:
    """The case that candidates are made from in the trial, and the held-out measurements that they must predict."""

    trial_case: Case
    hidden: Tensor
    """The held-out measurements, (N, ...)."""
    where: Tensor
    """1 at the held-out values that count, 0 elsewhere; shaped like `hidden`."""
    predict: Callable[[Tensor], Tensor]
    """Maps images (N, C, H, W) to predictions of `hidden`."""
    robust: bool = False
    """True if held-out values may be impulses, which carry no information about the image."""
    min_pool_strength: float = 0.0
    """Smallest pooling strength of `stacking.stack`; above 0 where an image's own held-out values are noisy or few."""
    coarser: bool = False
    """True if the trial's measurements are so much coarser that its DIP fits are not part of the final restoration."""
    weakly_identified: bool = False
    """True if candidates differ more in unmeasured frequencies than in the held-out measurements."""
    fewer_measurements: bool = False
    """True if the trial uses fewer values than were measured, so that its candidates are worse than the final ones."""

    def errors(self, images: Tensor) -> Tensor:
        """Return the prediction errors (K, N, M) of candidates' images (K, N, C, H, W); 0 where no value counts."""
        return torch.stack([((self.predict(each) - self.hidden) * self.where).flatten(1) for each in images])


def hold_out_measurements(case: Case, share: float, noise: float, seed: int) -> HeldOutSplit:
    """Hold out a part of the measurements; which part depends on the degradation.

    - Missing pixels or impulses: `share` of each image's measured values is held out.
    - Blocks (super-resolution): the trial's measurements are means over blocks of twice the side, and candidates
      predict the means that were measured. A mean says nothing about the inside of its block; a candidate that predicts
      the inside of large blocks can be trusted with small ones.
    - White noise on an image or on a blurred image: no value is held out. With fresh standard normal noise z, the noise
      of y + b s z and of y - s z / b is independent, where s is the standard deviation of the noise in y and
      b = `noise` (Oliveira, Lei & Tibshirani 2022). Candidates are made from the first, which has hardly more noise
      than y, and predict the second, so fitting noise doesn't lower their errors. If there is a blur, the spectrum of
      the second is equalized, since the blur leaves little of the frequencies in which candidates differ.
    - A blur without noise: the `share` of the transmitted frequencies that the blur weakens most is held out. These lie
      closest to the frequencies that aren't measured. They are compared after division by the blur's transfer function.

    The case must contain its noise level, where one is known or can be estimated. Random draws depend on `seed` alone.
    """
    y, degradation = case.y, case.degradation
    generator = torch.Generator(y.device).manual_seed(seed)
    variance = degradation.expected_residual(y)
    operator = degradation.operator
    if variance is not None and isinstance(operator, Identity | CircularBlur):
        blurred = isinstance(operator, CircularBlur)
        noise *= BLURRED if blurred else 1
        deviation = variance.clamp(min=0).sqrt().view(-1, *[1] * (y.ndim - 1))
        z = deviation * torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
        level = math.sqrt(variance.mean().item() * (1 + noise**2))
        trial_case = replace(case, y=y + noise * z, degradation=Degradation(operator, GaussianNoise(level)))
        other = equalize_spectrum(replace(case, y=y - z / noise), SCORED)
        predict, where = other.degradation.operator.A, torch.ones_like(y)
        return HeldOutSplit(
            trial_case, other.y, where, predict, min_pool_strength=POOLED_NOISY, weakly_identified=blurred
        )
    if isinstance(operator, CircularBlur):
        return _hide_frequencies(case, operator, share)
    if isinstance(operator, BlockMean) and not isinstance(degradation.noise, SaltAndPepper):
        return _measure_coarsely(case, operator)
    return next(_hide_in_turn(case, share, 1, generator))


def folds(case: Case, share: float, count: int, seed: int) -> list[HeldOutSplit]:
    """Return `count` splits that each hold out another `share` of an image's measured values, none of them twice.

    Use this for operators whose measured values share no pixels. Random draws depend on `seed` alone.
    Raises ValueError if count * share > 1.
    """
    if count * share > 1:
        raise ValueError(f"{count} folds that each hold out {share} of the values hold out more than there are")
    return list(_hide_in_turn(case, share, count, torch.Generator(case.y.device).manual_seed(seed)))


def _hide_in_turn(case: Case, share: float, times: int, generator: torch.Generator) -> Iterator[HeldOutSplit]:
    y, degradation = case.y, case.degradation
    operator = degradation.operator
    robust = isinstance(degradation.noise, SaltAndPepper)
    measured = operator.measured(y)
    draw = torch.rand(y.shape[0], 1, *y.shape[2:], generator=generator, device=y.device, dtype=y.dtype)
    # Each fold holds out exactly this share of each image, and at least one value.
    order = (draw + 2 * (1 - measured[:, :1])).flatten(1).argsort(1).argsort(1).view(draw.shape)
    count = (share * measured[:, :1].flatten(1).sum(1)).round().clamp(min=1).view(-1, 1, 1, 1)
    for time in range(times):
        hidden = ((order >= time * count) & (order < (time + 1) * count)).to(y.dtype).expand_as(y)
        masked_operator = MaskedOperator(operator, 1 - hidden)
        trial_case = replace(case, y=y * (1 - hidden), degradation=replace(degradation, operator=masked_operator))
        yield HeldOutSplit(trial_case, y, hidden * measured, operator.A, robust, fewer_measurements=True)


def _measure_coarsely(case: Case, blocks: BlockMean) -> HeldOutSplit:
    larger = BlockMean(2 * blocks.factor, blocks.size, case.y.device)
    y, noise = larger.A(blocks.pinv(case.y)), case.degradation.noise
    # Each larger block averages the noise of four blocks, except for some at the edges.
    halved = GaussianNoise(noise.sigma / 2) if isinstance(noise, GaussianNoise) else noise
    trial_case = replace(case, y=y, degradation=replace(case.degradation, operator=larger, noise=halved))
    where = torch.ones_like(case.y)
    return HeldOutSplit(trial_case, case.y, where, blocks.A, min_pool_strength=POOLED_COARSE, coarser=True)


def _hide_frequencies(case: Case, blur: CircularBlur, share: float) -> HeldOutSplit:
    passing = blur.transfer.abs()
    least = passing[passing > 0].quantile(share)
    passed, complement = copy.copy(blur), copy.copy(blur)
    passed.transfer = torch.where(passing > least, blur.transfer, 0)
    complement.transfer = torch.where(passing > least, 0, blur.transfer)

    def predict(images: Tensor) -> Tensor:
        return complement.pinv(complement.A(images))

    # Without the held-out frequencies, y is what the narrower blur would have measured.
    y = passed.A(passed.pinv(case.y))
    hidden = complement.pinv(case.y)
    trial_case = replace(case, y=y, degradation=replace(case.degradation, operator=passed))
    return HeldOutSplit(trial_case, hidden, torch.ones_like(hidden), predict)
