"""The features that predict the quality: errors that are measured without the truth, mostly in dB."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade import BlockMean, CircularBlur, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.clipping import (
    clipped_sigma,
    clipped_variance,
    clipping_corrected,
    correction_slope,
    without_clipping,
)
from dipddpm.core.methods.trial.holes import lie_together
from dipddpm.core.methods.trial.perturbation import SHARE, noise_deviation
from dipddpm.core.methods.trial.splits import BLOCK, Split
from dipddpm.core.methods.trial.tried import Tried

LEAST = 1e-7
"""The least mean squared error that is predicted: 70 dB. Rounding to 8 bits alone makes 59 dB."""
CLIPPED = 0.4
"""Uncertainty of an unbiased estimate in variances of the noise, for each value that clipping may have changed."""

CONTRAST = 0.05
"""Share of the squared differences of neighbouring pixels that is about the error of what is filled in between."""


@dataclass(frozen=True)
class Final:
    """The restoration of the whole picture (1, C, H, W) from all measurements."""

    case: Case
    restored: Tensor
    parts: Tensor
    """The parts of `restored` that correspond to the images of the trial."""
    tried: Tensor | None
    """The trial's restoration of these parts."""


@dataclass(frozen=True)
class Features:
    """The features by name, with an unbiased estimate of the mean squared error where one exists."""

    kind: str
    values: dict[str, float] = field(default_factory=dict)
    unbiased: float | None = None
    uncertainty: float = 0.0
    """The standard error of `unbiased`."""


def decibels(error: float) -> float:
    """Return a mean squared error in dB; its PSNR is the negative."""
    return 10 * math.log10(max(error, LEAST))


def measure(
    case: Case,
    split: Split,
    tried: Tried,
    noise_error: float,
    final: Final | None = None,
) -> Features:
    """Return the features of a candidate that was tried on a case; of its final restoration too, if there is one."""
    operator, deviation = case.degradation.operator, noise_deviation(case)
    variance = 0.0 if deviation is None else deviation.square().mean().item()
    whole = final.case if final else case
    known = tried.rehearsed[0] if tried.rehearsed else 0.0
    values: dict[str, float] = {}
    if isinstance(whole.degradation.noise, SaltAndPepper) or isinstance(operator, Mask):
        measured = whole.degradation.operator.measured(whole.y)
        if isinstance(whole.degradation.noise, SaltAndPepper):
            measured = measured * (whole.y > 0) * (whole.y < 1)
        share = 1 - measured.mean().item()
        if variance == 0 and final:
            known = ((final.restored.clamp(0, 1) - whole.y).square() * measured).mean().item() / max(1 - share, 1e-6)
        error = max(tried.error, 0.0)
        if final:
            # Errors are larger where a picture has more contrast, of which the hidden pixels may have more or less.
            missing, hidden = (
                decibels(error + CONTRAST * _contrast(images, where))
                for images, where in ((final.restored, 1 - measured), (final.parts, split.where))
            )
            error = max(error, LEAST) * 10 ** ((missing - hidden) / 10)
        error = share * error + (1 - share) * known
        kind = "holes" if isinstance(operator, Mask) and lie_together(operator.mask) else "inpaint"
        return Features(kind, values | {"base": decibels(error), "share": decibels(share)})
    if isinstance(operator, BlockMean):
        values |= {"base": decibels(tried.error), "octave 2": _octave(case.y, 0), "octave 3": _octave(case.y, 1)}
        values["edges"] = _edges(case.y)
        if final:
            values |= {"octave 1": _octave(final.restored, 0), "misfit": _misfit(final)}
        return Features("superres", values)
    if final:
        values["detail"] = _detail_ratio(final)
    if tried.rehearsed is None or deviation is None:
        return Features("", values)
    values |= {"base": decibels(known), "noise": decibels(variance)}
    if isinstance(operator, CircularBlur):
        values["passed"] = decibels(operator.transfer.abs().square().mean().item())
        if final:
            octaves = {f"octave {octave + 1}": _octave(final.restored, octave) for octave in range(4)}
            values |= octaves | {"misfit": _misfit(final), "edges": _edges(F.avg_pool2d(final.restored, 2))}
        return Features("deblur", values)
    values["ends"] = 10 * clipped(whole)
    if final is None or final.tried is None:
        uncertainty = math.hypot(tried.error_deviation, 2 * noise_error * variance, CLIPPED * clipped(case) * variance)
        return Features("denoise", values, tried.error, uncertainty)
    return _risk(split, final, final.tried, values, noise_error)


def clipped(case: Case) -> float:
    """Return the share of values at exactly 0 or 1, where a file ends."""
    return ((case.y == 0) | (case.y == 1)).float().mean().item()


def _risk(split: Split, final: Final, tried: Tensor, values: dict[str, float], noise_error: float) -> Features:
    """Estimate the error of a denoiser as the split does, with the final restoration f(y) in place of a smoothed y.

    This makes the estimate |f(y + b s z) - y|^2 - s^2 + 2 s z (f(y + b s z) - f(y)) / b far more certain. It is one of
    the parts that were tried; the difference of the residuals |f(y) - y|^2 makes it one of the whole picture. Where the
    bias of clipping is corrected in the end, errors grow by the slope of the correction.
    """
    deviation = noise_deviation(final.case)
    if deviation is None or split.added is None:
        raise AssertionError("a denoiser's noise has a level")
    case, width = final.case, 10 ** (values["base"] / 20)
    restored, parts, tried = final.restored.clamp(0, 1), final.parts.clamp(0, 1), tried.clamp(0, 1)
    expected, expected_parts, bias = deviation.square().mean(), deviation.square().mean(), 0.0
    if sigma := clipped_sigma(case):
        expected, expected_parts = clipped_variance(restored, sigma), clipped_variance(parts, sigma)
        bias = (clipping_corrected(restored, case) - without_clipping(restored, sigma)).square().mean().item()
    variance, weights = expected.mean().item(), correction_slope(parts, case, width).square()
    y = split.case.y - SHARE * split.added
    products = 2 * split.added * (tried - parts) / SHARE
    errors = F.avg_pool2d(((tried - y).square() + products - expected_parts) * weights, BLOCK, ceil_mode=True).flatten()
    squares = (restored - case.y).square()
    residual = squares.mean().item()
    elsewhere = ((squares - expected) * correction_slope(restored, case, width).square()).mean().item()
    elsewhere -= (((parts - y).square() - expected_parts) * weights).mean().item()
    slope = products.mean().item()
    response = (tried - parts).square().mean().item() / SHARE**2
    values |= {"response": decibels(response), "misfit": decibels(residual), "bias": decibels(max(bias, 1e-5))}
    for octave in (1, 2):
        # Averages of 2x2 values have a quarter of the noise, of whose variance 3/4 is in their detail.
        noise = 0.75 * variance / 4**octave
        given = 10 ** (_octave(case.y, octave) / 10) - noise
        values[f"lost {octave + 1}"] = decibels(max(given, 0.1 * noise)) - _octave(final.restored, octave)
    uncertainty = math.hypot(
        errors.std(correction=0).item() / math.sqrt(len(errors)),
        2 * noise_error * abs(variance - slope),
        CLIPPED * clipped(case) * variance,
    )
    return Features("denoise", values, errors.mean().item() + elsewhere + bias, uncertainty)


def _detail(images: Tensor) -> float:
    """Return the mean square of the detail that is lost when 2x2 pixels are averaged."""
    height, width = (side // 2 * 2 for side in images.shape[-2:])
    cut = images[..., :height, :width].clamp(0, 1)
    return (cut.square().mean() - F.avg_pool2d(cut, 2).square().mean()).item()


def _octave(images: Tensor, octave: int) -> float:
    """Return the detail in dB of images that are halved so many times; that of the smallest size, if they are small."""
    for _ in range(octave):
        if min(images.shape[-2:]) >= 4:
            images = F.avg_pool2d(images, 2)
    return decibels(_detail(images))


def _edges(images: Tensor) -> float:
    """Return by how many dB detail becomes stronger when images are halved, in the 5% of blocks with the most of it.

    These are mostly edges; the sharper edges are, the less this is.
    """
    height, width = (side // 8 * 8 for side in images.shape[-2:])
    cut = images[..., :height, :width].clamp(0, 1)
    halved = F.avg_pool2d(cut, 2)
    fine = F.avg_pool2d(cut.square(), 8) - F.avg_pool2d(halved.square(), 4)
    coarse = F.avg_pool2d(halved.square(), 4) - F.avg_pool2d(F.avg_pool2d(halved, 2).square(), 2)
    strongest = coarse.flatten().topk(max(1, coarse.numel() // 20)).indices
    return decibels(coarse.flatten()[strongest].mean().item()) - decibels(fine.flatten()[strongest].mean().item())


def _contrast(images: Tensor, where: Tensor) -> float:
    """Return the mean squared difference of neighbours within two pixels of the values where `where` isn't 0."""
    cut = images.clamp(0, 1)
    squares = F.pad((cut[..., 1:] - cut[..., :-1]).square(), (0, 1))
    squares = squares + F.pad((cut[..., 1:, :] - cut[..., :-1, :]).square(), (0, 0, 0, 1))
    return ((F.avg_pool2d(squares, 5, 1, 2) * where).sum() / where.expand_as(squares).sum().clamp(min=1)).item()


def _misfit(final: Final) -> float:
    """Return the mean squared difference from the measurements, in dB."""
    predicted = final.case.degradation.operator.A(final.restored.clamp(0, 1))
    return decibels((predicted - final.case.y).square().mean().item())


def _detail_ratio(final: Final) -> float:
    """Return by how many dB the whole picture has more detail than the parts of it that were tried."""
    return decibels(_detail(final.restored)) - decibels(_detail(final.parts))
