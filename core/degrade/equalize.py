"""A blurred measurement with its frequencies evened out, so that a fit comes to all of them in few iterations."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.operators import TRUNCATION

STRENGTH = 15.0
"""What a blur weakens to less than so many standard deviations of the noise is not made as strong as the rest."""


def equalize_spectrum(case: Case, strength: float = STRENGTH) -> Case:
    """The same measurement, each frequency divided by sqrt(s^2 + (strength sigma)^2), s being what the blur leaves.

    Gradient descent on |A f(z) - y|^2 takes a frequency the longer, the less of it A leaves. Here that is about 1
    wherever noise doesn't prevent it: a DIP of 200 iterations on this had 0.4 dB more than one of 1000 on y, on the
    mean of four training images and four each of glyphs, patches and leaves, blurred by 1.5 pixels with noise of 2 grey
    levels. The noise is no longer white; told is its level over all frequencies. What is no blur is left as it is, and
    so are impulses, which would be spread.
    """
    blur, noise = case.degradation.operator, case.degradation.noise
    if not isinstance(blur, CircularBlur) or isinstance(noise, SaltAndPepper):
        return case
    variance = case.degradation.expected_residual(case.y)
    sigma = 0.0 if variance is None else variance.clamp(min=0).mean().sqrt().item()
    least = max(strength * sigma, TRUNCATION)

    def gain(passing: Tensor) -> Tensor:
        return (passing.square() + least**2).rsqrt()

    equalized = copy.copy(blur)
    equalized.transfer = blur.transfer * gain(blur.transfer.abs())
    impulse = torch.zeros(1, 1, *blur.size, device=case.y.device)
    impulse[..., 0, 0] = 1
    level = GaussianNoise(sigma * blur.spectral_filter(impulse, gain).norm().item())
    return replace(case, y=blur.spectral_filter(case.y, gain), degradation=Degradation(equalized, level))
