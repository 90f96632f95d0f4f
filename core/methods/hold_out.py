"""Hold out a part of the measurements: candidates are made from the rest, and have to predict what was held out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dipddpm.core.degrade import (
    BlockMean,
    CircularBlur,
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    MaskedOperator,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import equalize_spectrum

SCORED = 8.0
"""Frequencies that a blur weakens to no less than so many standard deviations of the noise count as much as the others.

The best of a few values on six images each of FashionMNIST's last training images and of glyphs, patches and leaves
from number 100,020 on, blurred by 1.5 pixels with noise of 2 grey levels.
"""


@dataclass(frozen=True)
class Split:
    """Copies of a case, the folds, which each lack another part of the measurements, and these held-out parts."""

    case: Case
    """The images of all folds, fold by fold: F times N images."""
    hidden: Tensor
    """The held-out measurements, (F N, ...)."""
    where: Tensor
    """1 at the held-out values that count, 0 elsewhere; shaped like `hidden`."""
    predict: Callable[[Tensor], Tensor]
    """Maps images (F N, C, H, W) to predictions of `hidden`."""
    is_weak: bool = False
    """True if a held-out value says little, so that those of all images should count for each one."""
    is_complete: bool = False
    """True if the folds lack no measurements, but have more noise."""
    is_coarser: bool = False
    """True if the folds' measurements are so much coarser that their results aren't part of the restoration."""
    is_noisier: bool = False
    """True if the folds have so much more noise that their results aren't part of the restoration."""
    noise: Tensor | None = None
    """The expected mean square of the noise in the held-out values that count, (F N,); None without noise."""

    def errors(self, images: Tensor) -> Tensor:
        """Return the prediction errors (K, F N, M) of candidates' images (K, F N, C, H, W); 0 where no value counts."""
        return torch.stack([((self.predict(each) - self.hidden) * self.where).flatten(1) for each in images])


def hold_out(case: Case, share: float, noise: float, seed: int, folds: int = 1) -> Split:
    """Copy the case `folds` times, and hold out another part of the measurements of each copy.

    - Missing pixels, impulses: `share` of each image's measured values, others in each fold.
    - Large pixels (super-resolution): the trial's measurements are means over blocks of twice the side, and candidates
      predict the means that were measured. A mean says nothing about the inside of its block; a candidate that predicts
      the inside of large blocks can be trusted with small ones.
    - White noise on an image or on a blurred image: no value is held out. With fresh standard normal noise z, the noise
      of y + b s z and of y - s z / b is independent, where s is the standard deviation of the noise in y and
      b = `noise` (Oliveira, Lei & Tibshirani 2022). Candidates are made from the first, which has hardly more noise
      than y, and predict the second, so fitting noise doesn't lower their errors. If there is a blur, the spectrum of
      the second is equalized, since the blur leaves little of the frequencies in which candidates differ.
    - A blur without noise: the `share` of the transmitted frequencies that the blur weakens most. These lie closest to
      the frequencies that aren't measured. They are compared after division by the blur's transfer function.

    The case must contain its noise level, where one is known or can be estimated. Random draws depend on `seed` alone.
    Raises ValueError if folds * share > 1.
    """
    if folds * share > 1:
        raise ValueError(f"{folds} folds that each hold out {share} of the values hold out more than there are")
    n, *shape = case.shape
    indices = list(range(n)) * folds
    c, h, w = shape
    copies = Case(case.y[indices], case.degradation.select(indices), (len(indices), c, h, w), case.seed)
    operator = case.degradation.operator
    generator = torch.Generator(case.y.device).manual_seed(seed)
    if isinstance(operator, Identity | CircularBlur) and case.degradation.expected_residual(case.y) is not None:
        return _split_noise(copies, noise, folds, generator)
    if isinstance(operator, BlockMean) and not isinstance(case.degradation.noise, SaltAndPepper):
        return _measure_coarsely(copies, operator)
    if isinstance(operator, CircularBlur):
        return _hide_frequencies(copies, operator, share)
    return _hide_values(copies, share, folds, generator)


def _split_noise(copies: Case, b: float, folds: int, generator: torch.Generator) -> Split:
    y, degradation = copies.y, copies.degradation
    blurred = isinstance(degradation.operator, CircularBlur)
    variance = degradation.expected_residual(y)
    assert variance is not None
    z = _draw_folds(y, folds, generator) * variance.clamp(min=0).sqrt().view(-1, *[1] * (y.ndim - 1))
    level = GaussianNoise(math.sqrt(variance.mean().item() * (1 + b**2)))
    trial = replace(copies, y=y + b * z, degradation=Degradation(degradation.operator, level))
    other = equalize_spectrum(replace(copies, y=y - z / b), SCORED)
    predict, known = other.degradation.operator.A, other.degradation.expected_residual(other.y)
    return Split(
        trial,
        other.y,
        torch.ones_like(y),
        predict,
        is_weak=not blurred,
        is_complete=True,
        is_noisier=b > 1,
        noise=None if known is None else known * (1 + 1 / b**2),
    )


def _draw_folds(y: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """Draw standard normal values that cancel in the mean over the folds, if there are several."""
    z = torch.randn((folds, *y[: len(y) // folds].shape), generator=generator, device=y.device, dtype=y.dtype)
    centred = (z - z.mean(0)) * math.sqrt(folds / (folds - 1)) if folds > 1 else z
    return centred.flatten(0, 1)


def _hide_values(copies: Case, share: float, folds: int, generator: torch.Generator) -> Split:
    y, degradation = copies.y, copies.degradation
    measured = degradation.operator.measured(y)
    first = measured[: len(y) // folds, :1]
    draw = torch.rand(first.shape, generator=generator, device=y.device, dtype=y.dtype)
    parts = hidden_values(first, draw, share, folds)
    hidden = torch.cat(parts).to(y.dtype).expand_as(y)
    kept = 1 - hidden
    simple = isinstance(degradation.operator, Identity | Mask)
    operator = Mask((measured * kept)[:, :1]) if simple else MaskedOperator(degradation.operator, kept)
    trial = replace(copies, y=y * kept, degradation=replace(degradation, operator=operator))
    return Split(trial, y, hidden * measured, degradation.operator.A, noise=degradation.expected_residual(y))


def hidden_values(measured: Tensor, order: Tensor, share: float, folds: int) -> list[Tensor]:
    """Return for each fold, bool (N, 1, h, w), which of the `measured` values (N, 1, h, w) it holds out.

    A fold holds out exactly this share of each image's values, at least one, and no two folds have one in common.
    Values are held out in the order of `order`, random numbers (N, 1, h, w) or, for all images alike, (1, 1, h, w).
    """
    last = torch.where(measured > 0, order, torch.inf)
    rank = last.flatten(1).argsort(1).argsort(1).view(last.shape)
    count = (share * measured.flatten(1).sum(1)).round().clamp(min=1).view(-1, 1, 1, 1)
    return [(rank >= fold * count) & (rank < (fold + 1) * count) for fold in range(folds)]


def _measure_coarsely(copies: Case, blocks: BlockMean) -> Split:
    larger = BlockMean(2 * blocks.factor, blocks.size, copies.y.device)
    y, noise = larger.A(blocks.pinv(copies.y)), copies.degradation.noise
    # Each larger block averages the noise of four blocks, except for some at the edges.
    halved = GaussianNoise(noise.sigma / 2) if isinstance(noise, GaussianNoise) else noise
    trial = replace(copies, y=y, degradation=replace(copies.degradation, operator=larger, noise=halved))
    return Split(
        trial,
        copies.y,
        torch.ones_like(copies.y),
        blocks.A,
        is_weak=True,
        is_coarser=True,
        noise=copies.degradation.expected_residual(copies.y),
    )


def _hide_frequencies(copies: Case, blur: CircularBlur, share: float) -> Split:
    gain = blur.transfer.abs()
    least = gain[gain > 0].quantile(share)
    passed, complement = copy.copy(blur), copy.copy(blur)
    passed.transfer = torch.where(gain > least, blur.transfer, 0)
    complement.transfer = torch.where(gain > least, 0, blur.transfer)

    def predict(images: Tensor) -> Tensor:
        return complement.pinv(complement.A(images))

    # Without the held-out frequencies, y is what the narrower blur would have measured.
    y, hidden = passed.A(passed.pinv(copies.y)), complement.pinv(copies.y)
    trial = replace(copies, y=y, degradation=replace(copies.degradation, operator=passed))
    return Split(trial, hidden, torch.ones_like(hidden), predict)
