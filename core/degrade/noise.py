"""Noise on measurements. Levels here are on the scale [0, 1]; tasks give them in 8-bit grey levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


class Noise(ABC):
    """A random corruption of measurements, drawn from a generator on their device."""

    kind: ClassVar[str]

    @abstractmethod
    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Return noisy measurements, given clean ones."""

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """Return the expected mean of (y - A x)^2 over measured values at the true x, (N,); None if it is unknown."""
        del y, measured
        return None


@dataclass(eq=False)
class GaussianNoise(Noise):
    """y = A x + sigma n, never clipped."""

    kind = "gaussian"
    sigma: float
    """The standard deviation, on the scale [0, 1]."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Add sigma times standard normal noise."""
        n = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        return clean + self.sigma * n

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """Return sigma^2 for each image; None if sigma is 0."""
        del measured
        return y.new_full((len(y),), self.sigma**2) if self.sigma else None


@dataclass(eq=False)
class PoissonNoise(Noise):
    """y = counts / photons, where the counts are Poisson with mean photons * A x. Negative intensities count as 0."""

    kind = "poisson"
    photons: float
    """The mean photon count of a white pixel."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw photon counts and divide them by `photons`."""
        return torch.poisson(clean.clamp(min=0) * self.photons, generator=generator) / self.photons

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """Return mean(y) / photons over measured values, an unbiased estimate of mean(A x) / photons."""
        return (y * measured).flatten(1).sum(1) / measured.flatten(1).sum(1) / self.photons


@dataclass(eq=False)
class SaltAndPepper(Noise):
    """Impulse noise: a share `hit` of the values becomes 0 or 1, with equal probability."""

    kind = "salt-and-pepper"
    hit: float

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Replace random values by 0 or 1."""
        drawn = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        pepper = torch.where(drawn < self.hit / 2, torch.zeros_like(clean), clean)
        return torch.where(drawn >= 1 - self.hit / 2, torch.ones_like(clean), pepper)
