"""Noise on what an operator measures. Levels are in [0, 1] here; people give them in grey levels."""

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
        """Noisy measurements of clean ones."""

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """The mean of (y - A x)^2 over what is measured that is expected at the truth, (N,); None where unknown."""
        del y, measured
        return None


@dataclass(eq=False)
class GaussianNoise(Noise):
    """y = A x + sigma n. Never clipped."""

    kind = "gaussian"
    sigma: float
    """Standard deviation, for a range of [0, 1]."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Add sigma times standard normal noise."""
        n = torch.randn(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        return clean + self.sigma * n

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """sigma^2; None without noise."""
        del measured
        return y.new_full((len(y),), self.sigma**2) if self.sigma else None


@dataclass(eq=False)
class PoissonNoise(Noise):
    """y = counts / peak, the counts being Poisson with mean peak * A x. Negative intensities count as 0."""

    kind = "poisson"
    peak: float
    """Photons that a white pixel counts on average."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Count photons."""
        return torch.poisson(clean.clamp(min=0) * self.peak, generator=generator) / self.peak

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """mean(A x) / peak, for which mean(y) / peak is unbiased."""
        return (y * measured).flatten(1).sum(1) / measured.flatten(1).sum(1) / self.peak


@dataclass(eq=False)
class SaltAndPepper(Noise):
    """A share `hit` of the values becomes 0 or 1, as often one as the other."""

    kind = "salt-and-pepper"
    hit: float

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Hit values."""
        drawn = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        pepper = torch.where(drawn < self.hit / 2, torch.zeros_like(clean), clean)
        return torch.where(drawn >= 1 - self.hit / 2, torch.ones_like(clean), pepper)
