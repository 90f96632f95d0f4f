"""Noise on what an operator measures. Levels are in [0, 1] here; people give them in grey levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class GaussianNoise(Noise):
    """y = A x + sigma n. Never clipped."""

    kind = "gaussian"

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        """Standard deviation, for a range of [0, 1]."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Add sigma times standard normal noise."""
        return clean + self.sigma * torch.randn(
            clean.shape, generator=generator, device=clean.device, dtype=clean.dtype
        )

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """sigma^2; None without noise."""
        del measured
        return y.new_full((len(y),), self.sigma**2) if self.sigma else None


class PoissonNoise(Noise):
    """y = counts / peak, the counts being Poisson with mean peak * A x. Negative intensities count as 0."""

    kind = "poisson"

    def __init__(self, peak: float) -> None:
        self.peak = peak
        """Photons that a white pixel counts on average."""

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Count photons."""
        return torch.poisson(clean.clamp(min=0) * self.peak, generator=generator) / self.peak

    def variance(self, y: Tensor, measured: Tensor) -> Tensor | None:
        """mean(A x) / peak, for which mean(y) / peak is unbiased."""
        return (y * measured).flatten(1).sum(1) / measured.flatten(1).sum(1) / self.peak


class SaltAndPepper(Noise):
    """A share of the values becomes 0 or 1, as often one as the other."""

    kind = "salt-and-pepper"

    def __init__(self, hit: float) -> None:
        self.hit = hit

    def add(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Hit values."""
        drawn = torch.rand(clean.shape, generator=generator, device=clean.device, dtype=clean.dtype)
        pepper = torch.where(drawn < self.hit / 2, torch.zeros_like(clean), clean)
        return torch.where(drawn >= 1 - self.hit / 2, torch.ones_like(clean), pepper)
