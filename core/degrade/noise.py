"""Noise on measurements. Levels here are on the scale [0, 1]; tasks give them in 8-bit grey levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.core.errors import UserError


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
class PoissonGaussianNoise(PoissonNoise):
    """y = counts / photons + sigma n: the noise of a camera that counts photons and adds noise when it is read out."""

    kind = "poisson-gaussian"
    sigma: float
    """The standard deviation of the Gaussian part, on the scale [0, 1]."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw photon counts, divide them by `photons`, and add sigma times standard normal noise."""
        return GaussianNoise(self.sigma).add(super().add(clean, generator), generator)

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """Return mean(y) / photons + sigma^2, the sum of the parts' variances."""
        return self.sigma**2 + (y * measured).flatten(1).sum(1) / measured.flatten(1).sum(1) / self.photons


@dataclass(eq=False)
class UnknownNoise(Noise):
    """Noise of a picture that was given damaged, until its kind and level have been estimated."""

    kind = "unknown"

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Raise UserError, because nothing is known that could be added."""
        raise UserError(
            "Unknown noise can't be added to a picture: noise=unknown is for pictures that are damaged already.",
            "Give the noise a kind and a level, such as denoise:sigma=25.",
        )


@dataclass(eq=False)
class SaltAndPepper(Noise):
    """Impulse noise: a share `hit` of the values becomes 0 or 1, with equal probability."""

    kind = "salt-and-pepper"
    hit: float
    sigma: float = 0.0
    """The standard deviation of Gaussian noise on the other values, on the scale [0, 1]."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Add any Gaussian noise, and replace random values by 0 or 1."""
        if self.sigma:
            clean = GaussianNoise(self.sigma).add(clean, generator)
        drawn = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        pepper = torch.where(drawn < self.hit / 2, torch.zeros_like(clean), clean)
        return torch.where(drawn >= 1 - self.hit / 2, torch.ones_like(clean), pepper)
