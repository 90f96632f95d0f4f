"""Transformations that make a measurement easier to restore: removal of impulses, and equalization of a blur."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.degrade.noise import GaussianNoise, SaltAndPepper
from dipddpm.core.degrade.operators import TRUNCATION, CircularBlur, Identity, Mask, MaskedOperator

TOLERANCE = 0.1
"""Difference from the estimate, on the scale [0, 1], above which a black or white pixel counts as an impulse."""
STRENGTH = 15.0
"""Gain of a blur, in standard deviations of the noise, below which a frequency is only partly equalized."""


def without_impulses(case: Case, estimate: Tensor) -> Case:
    """Return the case with suspected impulses masked out; only Gaussian noise beside the impulses remains.

    Impulses are black or white, but not every such pixel is an impulse, so only those that differ from the `estimate`,
    images (N, C, H, W) in [0, 1], are masked. A case with other noise or with a blur is returned as it is.
    """
    degradation, operator = case.degradation, case.degradation.operator
    inner = operator.inner if isinstance(operator, MaskedOperator) else operator
    if not (isinstance(degradation.noise, SaltAndPepper) and isinstance(inner, Identity | Mask)):
        return case
    extreme = (case.y <= 0) | (case.y >= 1)
    plausible = ~(extreme & ((case.y - estimate).abs() > TOLERANCE)).any(1, keepdim=True)
    mask = plausible * operator.measured(case.y)[:, :1]
    noise = GaussianNoise(degradation.noise.sigma)
    return replace(case, y=case.y * mask, degradation=Degradation(Mask(mask), noise))


def reproduce_exact(images: Tensor, case: Case) -> Tensor:
    """Return images (N, C, H, W) of a case that agree with its measurements, if these have no noise."""
    degradation = case.degradation
    if not isinstance(degradation.noise, GaussianNoise) or degradation.expected_residual(case.y) is not None:
        return images
    return images + degradation.operator.pinv(case.y - degradation.operator.A(images))


def equalize_spectrum(case: Case, strength: float = STRENGTH) -> Case:
    """Divide each frequency of a blurred case by sqrt(s^2 + (strength sigma)^2), where s is the blur's gain.

    Gradient descent on |A f(z) - y|^2 fits a frequency more slowly the more A weakens it. Equalization brings the gain
    close to 1 wherever the noise allows: a DIP of 200 iterations on the equalized case had 0.4 dB more than a DIP of
    1000 on y, averaged over four training images and four each of glyphs, patches and leaves, blurred by 1.5 pixels
    with noise of 2 grey levels. The noise is no longer white; the returned noise level is its standard deviation. A
    case without a blur is returned as it is, and so is one with impulses, which equalization would spread.
    """
    blur, noise = case.degradation.operator, case.degradation.noise
    if not isinstance(blur, CircularBlur) or isinstance(noise, SaltAndPepper):
        return case
    variance = case.degradation.expected_residual(case.y)
    sigma = 0.0 if variance is None else variance.clamp(min=0).mean().sqrt().item()
    least = max(strength * sigma, TRUNCATION)

    def gain(transfer: Tensor) -> Tensor:
        return (transfer.square() + least**2).rsqrt()

    equalized = copy.copy(blur)
    equalized.transfer = blur.transfer * gain(blur.transfer.abs())
    impulse = torch.zeros(1, 1, *blur.size, device=case.y.device)
    impulse[..., 0, 0] = 1
    level = GaussianNoise(sigma * blur.spectral_filter(impulse, gain).norm().item())
    return replace(case, y=blur.spectral_filter(case.y, gain), degradation=Degradation(equalized, level))
