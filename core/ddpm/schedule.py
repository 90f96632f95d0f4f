"""The forward process: the noise of xt at each timestep, and the objectives that a network can predict."""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import DdpmConfig, Objective, Weighting

Timestep = int | Tensor
"""One timestep for a whole batch, or an int64 tensor of shape (N,) with a timestep for each image."""

LARGEST_BETA = 0.999
"""Upper bound on the beta of a schedule that is defined by its alpha_bar (Nichol & Dhariwal 2021, section 3.2)."""

MIN_SNR_GAMMA = 5.0
"""Cap on the signal-to-noise ratio in min-SNR weighting (Hang et al. 2023, section 3.4)."""

LEAST_ALPHA = 1e-5
"""Least sqrt(alpha_bar) at which eps determines x0. Below it, float32 rounding of eps alone moves x0 by over a percent.

The usual schedules stay above it: linear ends at 6e-3, cosine at 5e-5 for T = 1000 and at 1e-5 for T = 4000.
"""
SMALL_NOISE = 1e-6
"""1 - alpha_bar below this is computed from the sum of log(1 - beta), since the difference would lose its digits."""
TINY = 1e-30
"""Least divisor in float32, far from underflow and overflow."""


def cosine(time: Tensor) -> Tensor:
    """Return an alpha_bar that falls as cos^2 of a quarter turn (Nichol & Dhariwal 2021, eq. 17), `time` in [0, 1]."""
    return torch.cos((time + 0.008) / 1.008 * math.pi / 2).square()


def sigmoid(time: Tensor) -> Tensor:
    """Return an alpha_bar that falls as a sigmoid from -3 to 3 (Jabri et al. 2022, `sigmoid_schedule`, tau 1)."""
    falling = torch.sigmoid(3 - 6 * time)
    return (falling - falling[-1]) / (falling[0] - falling[-1])


def beta_of(config: DdpmConfig) -> Tensor:
    """Return the beta that a config names, float64 of shape (T,); linear is from Ho et al. 2020, section 4."""
    if config.schedule == "linear":
        return torch.linspace(config.beta_start, config.beta_end, config.timesteps, dtype=torch.float64)
    time = torch.linspace(0, 1, config.timesteps + 1, dtype=torch.float64)
    alpha_bar = cosine(time) if config.schedule == "cosine" else sigmoid(time)
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=LARGEST_BETA)


def to_zero_terminal_snr(beta: Tensor) -> Tensor:
    """Shift and scale the schedule in sqrt(alpha_bar) so that xt is pure noise at the last timestep.

    Lin et al. 2024, algorithm 1. The first alpha_bar doesn't change; the last beta becomes 1. Where the schedule is
    already pure noise in float64, its beta stays as it is.
    """
    root = torch.cumprod(1 - beta, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root.square()
    new_beta = 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
    new_beta[:-1] = torch.where((new_beta[:-1] > 0) & (new_beta[:-1] < 1), new_beta[:-1], beta[:-1])
    new_beta[-1] = 1
    return new_beta


class Schedule:
    """q(xt | x0) = N(sqrt(alpha_bar_t) x0, (1 - alpha_bar_t) I) for t = 0 .. T-1.

    Timesteps count from 0, as in diffusers: x_0 here already has a little noise, and is the paper's x_1. The tables
    are computed in float64 on the CPU; factors of images are rounded to float32 once, on the images' device.
    """

    def __init__(self, beta: Tensor, device: torch.device | str = "cpu") -> None:
        if beta.ndim != 1 or not bool((beta > 0).all() and (beta[:-1] < 1).all() and (beta <= 1).all()):
            raise ValueError("beta must be a 1-D tensor of numbers between 0 and 1, and only the last may be 1")
        self.beta = beta.detach().to("cpu", torch.float64)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)
        accurate = -torch.log1p(-self.beta).cumsum(0).expm1()
        self.noise = torch.where(accurate < SMALL_NOISE, accurate, 1 - self.alpha_bar)
        """1 - alpha_bar, the variance of the noise in xt, shape (T,)."""
        self.sigma = (self.noise / self.alpha_bar).sqrt() / 2
        """The standard deviation of the noise in xt / sqrt(alpha_bar_t), on images in [0, 1], shape (T,)."""
        self.informative = int((self.alpha_bar.sqrt() >= LEAST_ALPHA).sum())
        """Number of timesteps before xt is pure noise up to float32 rounding; len(self) if xt never is."""
        self._sqrt_alpha_bar = self.alpha_bar.sqrt().to(torch.float32).to(device)
        self._sqrt_noise = self.noise.sqrt().to(torch.float32).clamp(min=TINY).to(device)

    @classmethod
    def from_config(cls, config: DdpmConfig, device: torch.device | str = "cpu") -> Self:
        """Return the schedule that a config names."""
        beta = beta_of(config)
        return cls(to_zero_terminal_snr(beta) if config.zero_terminal_snr else beta, device)

    def __len__(self) -> int:
        """T, the number of timesteps."""
        return len(self.beta)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """Return xt = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, all of shape (N, C, H, W)."""
        return _at(self._sqrt_alpha_bar, t) * x0 + _at(self._sqrt_noise, t) * eps

    def predict_x0(self, xt: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """Invert `add_noise`: with a network's eps this is the estimate of x0, never clipped (eq. 15)."""
        return (xt - _at(self._sqrt_noise, t) * eps) / _at(self._sqrt_alpha_bar, t).clamp(min=TINY)

    def predict_eps(self, xt: Tensor, x0: Tensor, t: Timestep) -> Tensor:
        """Return the eps for which `add_noise` turns x0 into xt."""
        return (xt - _at(self._sqrt_alpha_bar, t) * x0) / _at(self._sqrt_noise, t)

    def target(self, objective: Objective, x0: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """Return the training target of a network for xt = `add_noise(x0, eps, t)`.

        v is sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0 (Salimans & Ho 2022, section 4).
        """
        if objective == "eps":
            return eps
        return x0 if objective == "x0" else _at(self._sqrt_alpha_bar, t) * eps - _at(self._sqrt_noise, t) * x0

    def split(self, objective: Objective, xt: Tensor, predicted: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """Return the estimates of x0 and eps for a prediction at xt; v gives good estimates at any noise level.

        Where xt is pure noise (see `LEAST_ALPHA`), x0 computed from eps is rounding error times 1e5 or more. There it
        is clipped to [-1, 1], as Ho et al. clip x0 at every timestep.
        """
        if objective == "eps":
            x0 = self.predict_x0(xt, predicted, t)
            if self.informative < len(self):
                is_noise = torch.as_tensor(t, device=xt.device).view(-1, 1, 1, 1) >= self.informative
                x0 = torch.where(is_noise, x0.clamp(-1, 1), x0)
            return x0, predicted
        if objective == "x0":
            return predicted, self.predict_eps(xt, predicted, t)
        a, s = _at(self._sqrt_alpha_bar, t), _at(self._sqrt_noise, t)
        return a * xt - s * predicted, s * xt + a * predicted

    def loss_weights(self, objective: Objective, weighting: Weighting) -> Tensor | None:
        """Return the weight of the squared error at each timestep, float32 (T,) on the CPU; None if all are 1.

        `plain` doesn't weight the objective's error. `eps` turns it into the error of eps, whatever is predicted: SNR
        times the error of x0, alpha_bar times the error of v. `min-snr` is the error of x0 times min(SNR, 5) (Hang et
        al. 2023, section 3.4).
        """
        if weighting == "plain" or (objective, weighting) == ("eps", "eps"):
            return None
        snr = self.alpha_bar / self.noise
        x0_weight = snr if weighting == "eps" else snr.clamp(max=MIN_SNR_GAMMA)
        # The error of x0 is 1 / SNR times the error of eps and (1 - alpha_bar) times the error of v. SNR may be 0.
        weights = {"eps": (MIN_SNR_GAMMA / snr).clamp(max=1), "x0": x0_weight, "v": x0_weight * self.noise}
        return weights[objective].to(torch.float32)

    def alpha_sigma(self, t: int) -> tuple[float, float]:
        """Return sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t); t = -1 is the clean image, (1, 0)."""
        if t < 0:
            return 1.0, 0.0
        return math.sqrt(self.alpha_bar[t].item()), math.sqrt(self.noise[t].item())

    def first_timestep(self, objective: Objective) -> int:
        """Return the timestep at which sampling from pure noise begins; usually the last one.

        Later timesteps, at which xt is the same pure noise up to rounding, are skipped: steps among them change
        nothing, and dividing by sqrt(alpha_bar) there gives huge values. A prediction of x0 or v is not divided, so
        its sampling begins at the first of them.
        """
        return min(max(self.informative - (objective == "eps"), 0), len(self) - 1)

    def timestep(self, sigma: float) -> int:
        """Return the t with the noise level nearest to `sigma`, a standard deviation on images in [0, 1].

        An image in [0, 1] with such noise, scaled to [-1, 1] and multiplied by sqrt(alpha_bar_t), is distributed as xt
        where sqrt((1 - alpha_bar_t) / alpha_bar_t) = 2 sigma, since model space is twice as wide. On the default
        schedule, 25/255 gives 56. Levels outside the schedule give its nearest end; `sigma[t]` is the inverse.
        """
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma must be a standard deviation, not {sigma}")
        return int((self.sigma - sigma).abs().argmin())


def _at(table: Tensor, t: Timestep) -> Tensor:
    return table[t].view(-1, 1, 1, 1) if isinstance(t, Tensor) else table[t]
