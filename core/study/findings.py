"""The measurements of the explanation, stored as JSON by its run, and what they say about the causes. No torch."""

from __future__ import annotations

from statistics import mean
from typing import Literal

import msgspec

XT, CLIPPED, X0 = "xt", "xt clipped", "x0"
"""Inputs of the networks: plain DDPM's xt; xt clipped to the range of a sigmoid output; a perfect denoiser's x0."""
DISCREPANCY, BUDGET = "k by noise level", "best k by t"
"""DIP outputs with k adapted to t: until DIP has removed as much as there is noise, or for the smallest loss."""
XT_WITH_DIP = "xt beside DIP"
"""Two channels: xt and DIP's output."""
X0_FROM_XT, X0_FROM_DIP = "x0 from xt", "x0 from DIP"
"""Inputs of networks that predict x0 in place of eps."""
NOISY, DIP_ALONE, DDPM_ALONE, SUBSTITUTION = "as measured", "DIP alone", "DDPM alone", "substitution"
"""Methods of the denoising comparison."""
AS_PUBLISHED, MEAN_GIVEN_BACK, WITHOUT_NORM, REAL = (
    "as published",
    "mean given back",
    "first norm left out",
    "test images",
)
"""Samples of the baseline: its own, those with the mean of eps replaced, those of the changed network; real images."""

CALM = 1.5
"""Training counts as stable if its gradients spread at most this many times as much as plain DDPM's."""
MENDED = 0.5
"""A change that closes less than this share of the distance to plain DDPM doesn't repair the hybrid."""
WHOLE = 0.9
"""A change that closes at least this share of the distance to plain DDPM repairs the hybrid."""
IN_RANGE = 4
"""Samples are in the range of images if their means spread over at most this many times as much as real images' do."""

Answer = Literal["not the cause", "part of the cause", "confirmed"]


def after(steps: int) -> str:
    """Return the name of DIP's output after k steps as an input."""
    return f"k = {steps}"


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """The training of a small network on one input; losses are mean squared errors, and eps has variance 1."""

    loss: float
    """Held-out loss after the last epoch."""
    curve: list[float]
    """Held-out loss after every epoch."""
    training: list[float]
    """Mean training loss of every epoch."""
    bands: list[float]
    """Held-out loss in equal parts of the timesteps, the least noisy part first."""
    gradient: float
    """Mean norm of the gradient after the first epoch."""
    gradient_spread: float
    """Standard deviation of the gradient's norm, divided by its mean."""
    spikes: int
    """Number of steps after the first epoch whose loss is more than three times the median of their epoch."""
    steps: int
    """Number of steps after the first epoch."""


class Denoised(msgspec.Struct, frozen=True, kw_only=True):
    """Mean scores of images denoised in one step; `accuracy` is the share that the classifier recognises."""

    sigma: float
    method: str
    psnr: float
    ssim: float
    accuracy: float


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """Samples of the published network or of a changed one, in model space, where images lie in [-1, 1]."""

    losses: list[float] = []
    """Training loss of the last epoch, and the error of eps on the test images; empty for real images."""
    spread: float
    """Root mean square distance of the samples' means from the mean of the training images."""
    contrast: float
    """Mean standard deviation of the pixels inside a sample."""
    frechet: float
    kernel: float
    """Frechet and kernel distance to the test images, clipped to the range of images."""
    own_range_frechet: float
    own_range_kernel: float
    """The same distances with each sample scaled to its own range."""
    response: float | None = None
    """Share of a brightness added to pure noise that the network finds in eps: 1 is right; None for real images."""


class Explanation(msgspec.Struct, kw_only=True):
    """All measurements; each mapping is keyed by the name of the input."""

    train_images: int
    test_images: int
    epochs: int
    steps: list[int]
    """The numbers k of DIP steps."""
    fixed: int
    """The k of the measurements that are made at a single k."""
    seeds: int
    bands: int
    distance: dict[str, float] = {}
    """Mean squared distance of DIP's output from xt."""
    linear: dict[str, list[float]] = {}
    """R^2 of the best linear filter that predicts eps, in equal parts of the timesteps."""
    trained: dict[str, list[TrainResult]] = msgspec.field(default_factory=dict, name="learned")
    """Results of the small networks, one per seed."""
    chosen: dict[str, list[float]] = {}
    """Mean k in equal parts of the timesteps, for the inputs that adapt k to t."""
    denoised: list[Denoised] = []
    baseline: dict[str, BaselineResult] = {}
    """The published network's samples and those of its changes; empty in records of older runs."""
    baseline_images: int = 0
    baseline_epochs: int = 0
    baseline_samples: int = 0

    def loss(self, name: str) -> float:
        """Return the held-out loss on an input, averaged over the seeds."""
        return mean(result.loss for result in self.trained[name])

    def linear_share(self, name: str) -> float:
        """Return R^2 of the best linear filters on an input, averaged over t."""
        return mean(self.linear[name])

    def closed_share(self, name: str) -> float:
        """Return the share of the distance between the substitution's loss and plain DDPM's that an input closes."""
        worst, best = self.loss(after(self.fixed)), self.loss(XT)
        return (worst - self.loss(name)) / (worst - best)

    def gradient_spread(self, name: str) -> float:
        """Return the gradient norm's standard deviation over its mean on an input, averaged over the seeds."""
        return mean(result.gradient_spread for result in self.trained[name])

    def spikes(self, name: str) -> int:
        """Return the number of loss spikes on an input, over all seeds."""
        return sum(result.spikes for result in self.trained[name])

    def mended_share(self, change: str) -> float:
        """Return the share of the distance between the published samples' spread and real images' that a change closes.

        Negative if the change makes it worse.
        """
        ours, real = self.baseline[AS_PUBLISHED].spread, self.baseline[REAL].spread
        return (ours - self.baseline[change].spread) / (ours - real)

    def is_in_range(self, change: str) -> bool:
        """Return whether the means of samples spread over no more than `IN_RANGE` times as much as real images'."""
        return self.baseline[change].spread <= IN_RANGE * self.baseline[REAL].spread

    def brightness_answer(self) -> Answer:
        """Return whether blindness to brightness is why the baseline's samples leave the range of images.

        It is the cause if samples of the same weights stay in range once the network is given the mean of xt back.
        """
        mended = self.mended_share(MEAN_GIVEN_BACK)
        return "confirmed" if mended >= WHOLE else "part of the cause" if mended >= MENDED else "not the cause"

    def baseline_text(self) -> str:
        """Say how far the means of the baseline's samples spread, as published and changed."""
        spreads = ", ".join(f"{name} {result.spread:.2f}" for name, result in self.baseline.items())
        return f"Spread of the means of the baseline's samples, in model space: {spreads}"

    @property
    def is_calm(self) -> bool:
        """True if the network trains as stably from DIP's output as from xt."""
        hybrid = after(self.fixed)
        same_spread = self.gradient_spread(hybrid) <= CALM * self.gradient_spread(XT)
        return same_spread and self.spikes(hybrid) <= max(1, CALM * self.spikes(XT))

    def answers(self) -> list[Answer]:
        """Return the answers to the causes that the study suspected: instability, no adaptation to t, two models."""
        adapted, combined = self.closed_share(BUDGET), self.closed_share(XT_WITH_DIP)
        return [
            "not the cause" if self.is_calm else "confirmed",
            "part of the cause" if adapted < MENDED else "confirmed",
            "not the cause" if combined >= WHOLE else "part of the cause" if combined >= MENDED else "confirmed",
        ]
