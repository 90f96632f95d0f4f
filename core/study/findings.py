"""What the explanation found, as one record: kept as JSON in its run, read by the report and the verdicts. No torch."""

from __future__ import annotations

from statistics import mean

import msgspec

XT, CLIPPED, X0 = "xt", "xt clipped", "x0"
"""What stands for plain DDPM; for all that an hourglass ending in a sigmoid can show of xt; for a perfect denoiser."""
DISCREPANCY, BUDGET = "k by noise level", "best k by t"
"""DIP adapted to the timestep: stopped where it has taken away as much as the noise; and as suits the loss best."""
BESIDE = "xt beside DIP"
X0_FROM_XT, X0_FROM_DIP = "x0 from xt", "x0 from DIP"
NOISY, DIP_ALONE, DDPM_ALONE, SUBSTITUTION = "as measured", "DIP alone", "DDPM alone", "substitution"


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
