"""Add noise to measurements that are noisy already, in the amount that each value has."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade import GaussianNoise, Identity, Mask, Noise, PoissonNoise, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.clipping import clipped_sigma, clipped_variance

SHARE = 0.3
"""Standard deviation of the added noise, as a share of the deviation of the noise that is there."""
ROUNDING = 1 / 255 / math.sqrt(12)
"""Standard deviation of what is lost when a picture is rounded to 8 bits: the noise where there is no other."""
HIDDEN = 0.1
"""Share of the known pixels that is hidden in turn, where they have no noise to add to."""


def perturbed(case: Case, seed: int) -> Case:
    """Return the case with slightly worse measurements, by a draw that depends on `seed`.

    Where the noise has a level, fresh noise of `SHARE` times its deviation is added, so the case's level grows by 4%.
    Of measurements without noise, a tenth of the known pixels becomes missing or an impulse; what has no pixels to hide
    gets as much noise as rounding to 8 bits makes. Restorations of such cases differ by a method's spread.
    """
    generator = torch.Generator(case.y.device).manual_seed(seed)
    noise, operator = case.degradation.noise, case.degradation.operator
    if isinstance(noise, SaltAndPepper):
        return with_impulses(case, _draw(case.y, generator) < HIDDEN, generator)
    deviation = noise_deviation(case)
    if deviation is None and isinstance(operator, Mask | Identity):
        hidden = _draw(case.y[:, :1], generator) < HIDDEN
        return without(case, hidden)
    if deviation is None:
        deviation = torch.full_like(case.y, ROUNDING)
    return with_noise(case, SHARE, deviation * standard_normal(case.y, generator))


def with_noise(case: Case, share: float, draw: Tensor) -> Case:
    """Return the case with `share` times a `draw` of its own noise added, and the level that the noise then has."""
    degradation = case.degradation
    y = case.y + share * draw * degradation.operator.measured(case.y)
    return replace(case, y=y, degradation=replace(degradation, noise=_stronger(degradation.noise, 1 + share**2)))


def with_impulses(case: Case, hidden: Tensor, generator: torch.Generator) -> Case:
    """Return the case with black or white impulses, equally likely, where `hidden` (like y) is true."""
    noise = case.degradation.noise
    hit = noise.hit if isinstance(noise, SaltAndPepper) else 0.0
    impulses = (_draw(case.y, generator) < 0.5).to(case.y.dtype)
    share = hidden.float().mean().item()
    level = SaltAndPepper(hit + share * (1 - hit))
    y = torch.where(hidden, impulses, case.y) * case.degradation.operator.measured(case.y)
    return replace(case, y=y, degradation=replace(case.degradation, noise=level))


def without(case: Case, hidden: Tensor) -> Case:
    """Return the case in which the pixels of `hidden` (N, 1, H, W) are missing too."""
    operator = case.degradation.operator
    known = operator.measured(case.y)[:, :1] * ~hidden
    return replace(case, y=case.y * known, degradation=replace(case.degradation, operator=Mask(known)))


def noise_deviation(case: Case) -> Tensor | None:
    """Return the standard deviation of the noise at each value of y; None if there is none or it is unknown.

    Where it depends on the intensity, that is taken from the mean of 5x5 values. Clipping weakens the noise.
    """
    degradation = case.degradation
    noise, measured = degradation.noise, degradation.operator.measured(case.y)
    variance = degradation.expected_residual(case.y)
    if variance is None or isinstance(noise, SaltAndPepper):
        return None
    if isinstance(noise, GaussianNoise):
        if sigma := clipped_sigma(case):
            return clipped_variance(local_mean(case.y, measured), sigma).sqrt()
        return variance.sqrt().view(-1, 1, 1, 1).expand_as(case.y)
    photons = getattr(noise, "photons", math.inf)
    constant = getattr(noise, "sigma", 0.0) ** 2
    return (local_mean(case.y, measured).clamp(min=0) / photons + constant).sqrt()


def local_mean(y: Tensor, measured: Tensor, radius: int = 2) -> Tensor:
    """Return the mean over the measured values within `radius` of each value of y; 0 where there is none."""

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * radius + 1, 1, radius, count_include_pad=False)

    return mean(y * measured) / mean(measured).clamp(min=1e-6)


def standard_normal(y: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise shaped like y."""
    return torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)


def _draw(y: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(y.shape, generator=generator, device=y.device, dtype=y.dtype)


def _stronger(noise: Noise, factor: float) -> Noise:
    """Return the noise with `factor` times its variance."""
    changes: dict[str, float] = {}
    if isinstance(noise, PoissonNoise):
        changes["photons"] = noise.photons / factor
    if isinstance(noise, GaussianNoise) or hasattr(noise, "sigma"):
        changes["sigma"] = noise.sigma * math.sqrt(factor)
    return replace(noise, **changes)  # type: ignore[type-var]
