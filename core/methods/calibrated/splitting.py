"""Measurements held back from every candidate, so that what each one predicts there tells which to trust."""

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
POOLED_COARSE = 100.0
BLURRED = 2.0
"""How many times as much noise is split off a blurred image: what tells candidates apart is faint there."""
SCORED = 5.0
"""Down to so many standard deviations of the noise, frequencies that a blur weakens count as much as the others.

Both are the best of a few on the images that `trust.DECIDED` names.
"""


@dataclass(frozen=True)
class HeldOutSplit:
    """A case as candidates see it, and what was kept from them."""

    trial_case: Case
    hidden: Tensor
    """What is to be predicted, (N, ...)."""
    where: Tensor
    """1 at the values that count, shaped like `hidden`."""
    predict: Callable[[Tensor], Tensor]
    """From images (N, C, H, W) to predictions."""
    robust: bool = False
    """Whether a hidden value may be an impulse, which says nothing of the image."""
    min_pool_strength: float = 0.0
    """Hidden values that those of all images together should be worth to each one, at least: where its own say little,
    for they are noisy or few."""
    coarser: bool = False
    """Whether so much was hidden that what candidates came to is of no use by itself."""
    weakly_identified: bool = False
    """Whether candidates differ more in what nobody measured than in what was hidden."""
    fewer_measurements: bool = False
    """Whether candidates saw fewer values than were measured, and so are behind what the same come to with all."""

    def errors(self, images: Tensor) -> Tensor:
        """Of each candidate's images (K, N, C, H, W) at what was hidden, (K, N, M); 0 where nothing counts."""
        return torch.stack([((self.predict(each) - self.hidden) * self.where).flatten(1) for each in images])


def hold_out_measurements(case: Case, share: float, noise: float, seed: int) -> HeldOutSplit:
    """Keep a part of what is measured back.

    - Of missing pixels and of impulses: `share` of each image's measured values.
    - Of blocks, whose means say nothing of what is inside: candidates see means over blocks of twice the side, and
      predict those that were measured. Who can tell what is inside large blocks may be believed in small ones.
    - Of white noise on an image or a blurred one, nothing is hidden: with z drawn anew, y + b s z and y - s z / b have
      independent noise, s being the deviation of y's own and b = `noise` (Oliveira, Lei & Tibshirani 2022). Candidates
      see the first, which has hardly more noise than y, and predict the second; no error is biased by what they fit.
      A blurred half is predicted with its frequencies evened out, for where candidates differ the blur leaves little.
    - Of a blur without noise: the share of the frequencies that pass which it lets through least. They are next to
      those that nobody has measured, and compared with no weight of the blur on them.

    The noise level must be told by now where it can be. Draws depend on `seed` alone.
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
    """So many cases that each keep another `share` of an image's measured values back, none of them twice.

    For values that have no pixels in common. Draws depend on `seed` alone. Raises ValueError where count * share > 1.
    """
    if count * share > 1:
        raise ValueError(f"{count} shares of {share} are more than all")
    return list(_hide_in_turn(case, share, count, torch.Generator(case.y.device).manual_seed(seed)))


def _hide_in_turn(case: Case, share: float, times: int, generator: torch.Generator) -> Iterator[HeldOutSplit]:
    y, degradation = case.y, case.degradation
    operator = degradation.operator
    robust = isinstance(degradation.noise, SaltAndPepper)
    measured = operator.measured(y)
    draw = torch.rand(y.shape[0], 1, *y.shape[2:], generator=generator, device=y.device, dtype=y.dtype)
    # Exactly the share of each image, and one at least.
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
    # Noise is averaged over four blocks, but for some at the edges.
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

    # What is left of y is what the narrower blur would have measured.
    y = passed.A(passed.pinv(case.y))
    hidden = complement.pinv(case.y)
    trial_case = replace(case, y=y, degradation=replace(case.degradation, operator=passed))
    return HeldOutSplit(trial_case, hidden, torch.ones_like(hidden), predict)
