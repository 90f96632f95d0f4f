"""The forward process: how much noise xt has at each timestep, and how that relates to noise on an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import DdpmConfig

Timestep = int | Tensor
"""One timestep for a whole batch, or an int64 tensor of shape (N,) with one for each image."""


LARGEST_BETA = 0.999
"""Where the beta of a schedule given by its alpha_bar is cut off (Nichol & Dhariwal 2021, section 3.2)."""


def linear(config: DdpmConfig) -> Tensor:
    """beta grows linearly from `beta_start` to `beta_end` (Ho et al. 2020, section 4)."""
    return torch.linspace(config.beta_start, config.beta_end, config.timesteps, dtype=torch.float64)


def cosine(config: DdpmConfig) -> Tensor:
    """alpha_bar falls as cos^2 of a quarter turn (Nichol & Dhariwal 2021, eq. 17)."""
    return _beta(torch.cos((_time_grid(config) + 0.008) / 1.008 * math.pi / 2).square())


def sigmoid(config: DdpmConfig) -> Tensor:
    """alpha_bar falls as a sigmoid from -3 to 3 (Jabri et al. 2022, algorithm of `sigmoid_schedule`, tau 1)."""
    falling = torch.sigmoid(3 - 6 * _time_grid(config))
    return _beta((falling - falling[-1]) / (falling[0] - falling[-1]))


BETAS: dict[str, Callable[[DdpmConfig], Tensor]] = {"linear": linear, "cosine": cosine, "sigmoid": sigmoid}
"""Schedules by the name that configs use: from the options to beta, float64 of shape (T,)."""


def to_zero_terminal_snr(beta: Tensor) -> Tensor:
    """The schedule shifted and scaled in sqrt(alpha_bar) so that xt is pure noise at the end.

    Lin et al. 2024, algorithm 1. The first alpha_bar stays as it is; the last beta becomes 1.
    """
    root = torch.cumprod(1 - beta, 0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root.square()
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


def _time_grid(config: DdpmConfig) -> Tensor:
    """0, 1/T .. 1."""
    return torch.linspace(0, 1, config.timesteps + 1, dtype=torch.float64)


def _beta(alpha_bar: Tensor) -> Tensor:
    """From alpha_bar at T + 1 moments, the first being the clean image, to the T betas between them."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=LARGEST_BETA)


class Schedule:
    """q(xt | x0) = N(sqrt(alpha_bar_t) x0, (1 - alpha_bar_t) I) for t = 0 .. T-1.

    Timesteps count from 0, as in diffusers: x_0 here already has a little noise, and is the paper's x_1. The tables
    are computed in float64 on the CPU; what multiplies images is rounded to float32 once, on the images' device.
    """

    def __init__(self, beta: Tensor, device: torch.device | str = "cpu") -> None:
        if beta.ndim != 1 or not bool((beta > 0).all() and (beta[:-1] < 1).all() and (beta <= 1).all()):
            raise ValueError("beta must be one row of numbers between 0 and 1, of which only the last may be 1")
        self.beta = beta.detach().to("cpu", torch.float64)
        self.alpha_bar = torch.cumprod(1 - self.beta, 0)
        previous = torch.cat([torch.ones(1, dtype=torch.float64), self.alpha_bar[:-1]])
        noise = 1 - self.alpha_bar
        self.posterior_variance = self.beta * (1 - previous) / noise
        """Variance of q(x_{t-1} | xt, x0), shape (T,); 0 at t = 0 (Ho et al. 2020, eq. 7)."""
        self.sigma = (noise / self.alpha_bar).sqrt() / 2
        """Standard deviation of the noise in xt / sqrt(alpha_bar_t) on the scale of images in [0, 1], shape (T,)."""

        def on_device(table: Tensor) -> Tensor:
            return table.to(torch.float32).to(device)

        self._sqrt_alpha_bar = on_device(self.alpha_bar.sqrt())
        self._sqrt_noise = on_device(noise.sqrt())
        self._mean_of_x0 = on_device(previous.sqrt() * self.beta / noise)
        self._mean_of_xt = on_device((1 - self.beta).sqrt() * (1 - previous) / noise)

    @classmethod
    def from_config(cls, config: DdpmConfig, device: torch.device | str = "cpu") -> Self:
        """The schedule that a config names."""
        beta = BETAS[config.schedule](config)
        return cls(to_zero_terminal_snr(beta) if config.zero_terminal_snr else beta, device)

    def __len__(self) -> int:
        """T, the number of timesteps."""
        return len(self.beta)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """A draw of xt: sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, all of shape (N, C, H, W)."""
        return _at(self._sqrt_alpha_bar, t) * x0 + _at(self._sqrt_noise, t) * eps

    def predict_x0(self, xt: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """The inverse of `add_noise`; with a network's eps it is the estimate of x0, never clipped (eq. 15)."""
        return (xt - _at(self._sqrt_noise, t) * eps) / _at(self._sqrt_alpha_bar, t)

    def predict_eps(self, xt: Tensor, x0: Tensor, t: Timestep) -> Tensor:
        """The noise that makes xt of x0."""
        return (xt - _at(self._sqrt_alpha_bar, t) * x0) / _at(self._sqrt_noise, t)

    def velocity(self, x0: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """v = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x0 (Salimans & Ho 2022, section 4)."""
        return _at(self._sqrt_alpha_bar, t) * eps - _at(self._sqrt_noise, t) * x0

    def from_velocity(self, xt: Tensor, v: Tensor, t: Timestep) -> tuple[Tensor, Tensor]:
        """x0 and eps of xt and v: the inverse of `add_noise` and `velocity` together, good at any noise level."""
        a, s = _at(self._sqrt_alpha_bar, t), _at(self._sqrt_noise, t)
        return a * xt - s * v, s * xt + a * v

    def alpha_sigma(self, t: int) -> tuple[float, float]:
        """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t); (1, 0), the clean image, for t = -1."""
        alpha_bar = self.alpha_bar[t].item() if t >= 0 else 1.0
        return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)

    def posterior_mean(self, x0: Tensor, xt: Tensor, t: Timestep) -> Tensor:
        """Mean of q(x_{t-1} | xt, x0) (Ho et al. 2020, eq. 7)."""
        return _at(self._mean_of_x0, t) * x0 + _at(self._mean_of_xt, t) * xt

    def timestep(self, sigma: float) -> int:
        """The t whose noise is nearest to a standard deviation of `sigma` on images in [0, 1]; 25/255 gives 56.

        An image in [0, 1] with such noise, brought to [-1, 1] and multiplied by sqrt(alpha_bar_t), is distributed as
        xt where sqrt((1 - alpha_bar_t) / alpha_bar_t) = 2 sigma: model space is twice as wide. Levels beyond either
        end of the schedule give that end; `sigma[t]` is the way back.
        """
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ValueError(f"sigma must be a standard deviation, not {sigma}")
        return int((self.sigma - sigma).abs().argmin())


def _at(table: Tensor, t: Timestep) -> Tensor:
    return table[t].view(-1, 1, 1, 1) if isinstance(t, Tensor) else table[t]
