"""Classic methods for a blur whose kernel is known; colour pictures are restored plane by plane."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.core.degrade import CircularBlur
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.classical.pictures import with_gaussian_noise

LEAST_NOISE = 0.5 / 255
"""Smallest standard deviation of the noise; pictures have at least that of rounding to 8 bits."""
EXPONENTS = (1.0, 1.25, 1.5, 1.75, 2.0)
"""Exponents p of the power spectra 1 / f^2p among which the Wiener filter chooses."""
ITERATIONS = 300
"""Most iterations of Richardson-Lucy."""
VARIATION = 0.005
"""Weight of total variation in Richardson-Lucy."""


def wiener(case: Case) -> Tensor:
    """Return Wiener's filter for a power spectrum c / f^2p, whose c and p have the largest likelihood, by plane.

    The likelihood is Whittle's: the components of y's spectrum are independent and Gaussian.
    """
    case, sigma, finish = with_gaussian_noise(case)
    blur = case.degradation.operator
    assert isinstance(blur, CircularBlur)
    height, width = blur.size
    mean = case.y.double().mean((2, 3), keepdim=True)
    spectrum = torch.fft.rfft2(case.y.double() - mean, norm="ortho")
    down, right = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = (down[:, None].square() + right.square()).sqrt().to(spectrum.real)
    frequency[0, 0] = 1 / max(height, width)
    gain, noise = blur.transfer.abs().square(), max(sigma, LEAST_NOISE) ** 2
    # rfft2 holds most columns for themselves and for their mirror image, but not the first and the middle one.
    count = torch.full_like(frequency, 2.0)
    count[:, 0] = 1
    if width % 2 == 0:
        count[:, -1] = 1
    best = torch.full(mean.shape, torch.inf, dtype=torch.float64, device=mean.device)
    prior = torch.zeros_like(spectrum.real)
    for exponent in EXPONENTS:
        shape = frequency.pow(-2 * exponent)
        for power in torch.logspace(-9, 0, 37, dtype=torch.float64).tolist():
            expected = gain * power * shape + noise
            loss = (count * (expected.log() + spectrum.abs().square() / expected)).sum((2, 3), keepdim=True)
            prior = torch.where(loss < best, power * shape, prior)
            best = torch.minimum(loss, best)
    filtered = blur.transfer.conj() * prior / (gain * prior + noise) * spectrum
    restored = torch.fft.irfft2(filtered, s=blur.size, norm="ortho") + mean
    return finish(restored.to(case.y))


def richardson_lucy(case: Case) -> Tensor:
    """Return Richardson-Lucy with total variation (Dey et al., 2006), stopped where the residual is that of the noise.

    Intensities are positive, so measurements that noise has made negative count as black.
    """
    case, sigma, finish = with_gaussian_noise(case)
    operator, y = case.degradation.operator, case.y.clamp(min=1e-3)
    x = y.mean((2, 3), keepdim=True).expand_as(y)
    allowed = max(sigma, LEAST_NOISE) ** 2
    for _ in range(ITERATIONS):
        predicted = operator.A(x).clamp(min=1e-3)
        active = (predicted - case.y).square().mean((2, 3), keepdim=True) > allowed
        if not bool(active.any()):
            break
        updated = x * operator.adjoint(y / predicted) / (1 - VARIATION * _curvature(x))
        x = torch.where(active, updated.clamp(min=1e-6), x)
    return finish(x)


def _curvature(x: Tensor) -> Tensor:
    """Return the divergence of the normalised gradient, with circular boundary."""
    down, right = x.roll(-1, 2) - x, x.roll(-1, 3) - x
    norm = (down.square() + right.square() + 1e-6).sqrt()
    down, right = down / norm, right / norm
    return down - down.roll(1, 2) + right - right.roll(1, 3)
