"""What the explanation found, as one record that its run keeps as JSON, and what that says of the causes. No torch."""

from __future__ import annotations

from statistics import mean
from typing import Literal

import msgspec

XT, CLIPPED, X0 = "xt", "xt clipped", "x0"
"""What stands for plain DDPM; for all that an hourglass ending in a sigmoid can show of xt; for a perfect denoiser."""
DISCREPANCY, BUDGET = "k by noise level", "best k by t"
"""DIP adapted to the timestep: stopped where it has taken away as much as the noise; and as suits the loss best."""
BESIDE = "xt beside DIP"
X0_FROM_XT, X0_FROM_DIP = "x0 from xt", "x0 from DIP"
NOISY, DIP_ALONE, DDPM_ALONE, SUBSTITUTION = "as measured", "DIP alone", "DDPM alone", "substitution"

CALM = 1.5
"""Gradients whose spread is no more than so many times that of plain DDPM are as calm."""
MENDED = 0.5
"""A change that closes less than this share of the distance to plain DDPM doesn't mend the hybrid."""
WHOLE = 0.9
"""One that closes this share mends it."""

Answer = Literal["not the cause", "half of it", "confirmed"]


def after(steps: int) -> str:
    """What stands for DIP's output after k steps."""
    return f"k = {steps}"


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """A small network trained on one input: mean squared errors, 1 being the variance of eps."""

    loss: float
    """On held-out images, after the last epoch."""
    curve: list[float]
    """The same after every epoch."""
    training: list[float]
    """The mean over each epoch's steps."""
    bands: list[float]
    """On held-out images in equal parts of the timesteps, the least noisy first."""
    gradient: float
    """Mean norm of the gradient, after the first epoch."""
    gradient_spread: float
    """Its standard deviation as a share of that mean."""
    spikes: int
    """Steps after the first epoch whose loss is more than three times the median of their epoch's."""
    steps: int
    """Steps after the first epoch."""


class Denoised(msgspec.Struct, frozen=True, kw_only=True):
    """Images denoised in one step by one method: means, and the share that the classifier still knows."""

    sigma: float
    method: str
    psnr: float
    ssim: float
    accuracy: float


class Explanation(msgspec.Struct, kw_only=True):
    """Everything that was measured, by the input that it was measured on."""

    train_images: int
    test_images: int
    epochs: int
    steps: list[int]
    """The numbers k of DIP steps."""
    fixed: int
    """The k of all that is measured at one k."""
    seeds: int
    bands: int
    distance: dict[str, float] = {}
    """Mean squared distance of DIP's output from xt."""
    linear: dict[str, list[float]] = {}
    """R^2 of the best linear filter to eps, in equal parts of the timesteps."""
    learned: dict[str, list[TrainResult]] = {}
    """One for each seed."""
    chosen: dict[str, list[float]] = {}
    """Mean k in equal parts of the timesteps, where k is adapted to t."""
    denoised: list[Denoised] = []

    def loss(self, name: str) -> float:
        """The held-out loss on an input, on the mean over the seeds."""
        return mean(one.loss for one in self.learned[name])

    def linear_share(self, name: str) -> float:
        """R^2 of the best linear filters, on the mean over t."""
        return mean(self.linear[name])

    def closed_share(self, name: str) -> float:
        """The share of the distance from the substitution's loss to plain DDPM's that another input closes."""
        worst, best = self.loss(after(self.fixed)), self.loss(XT)
        return (worst - self.loss(name)) / (worst - best)

    def gradient_spread(self, name: str) -> float:
        """The spread of the gradient's norm on an input, as a share of its mean, on the mean over the seeds."""
        return mean(one.gradient_spread for one in self.learned[name])

    def spikes(self, name: str) -> int:
        """The steps of all seeds whose loss is three times the usual."""
        return sum(one.spikes for one in self.learned[name])

    @property
    def is_calm(self) -> bool:
        """Whether the network trains as calmly from DIP's output as from xt."""
        hybrid = after(self.fixed)
        same_spread = self.gradient_spread(hybrid) <= CALM * self.gradient_spread(XT)
        return same_spread and self.spikes(hybrid) <= max(1, CALM * self.spikes(XT))

    def answers(self) -> list[Answer]:
        """To the study's three suspicions in its order: instability, no adaptation to t, two models combined."""
        adapted, combined = self.closed_share(BUDGET), self.closed_share(BESIDE)
        return [
            "not the cause" if self.is_calm else "confirmed",
            "half of it" if adapted < MENDED else "confirmed",
            "not the cause" if combined >= WHOLE else "half of it" if combined >= MENDED else "confirmed",
        ]
