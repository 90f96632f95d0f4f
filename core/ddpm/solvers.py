"""Solvers: the steps of sampling, each from one noise level to another.

In xt = a x0 + s eps, a and s are sqrt(alpha_bar) and sqrt(1 - alpha_bar). A step goes from timestep t to `t_next` < t,
or up to t_next > t in a restart. t_next = -1 is the clean image, where a = 1 and s = 0. Coefficients are computed in
float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import DdpmConfig, SamplerName, Variance
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.schedule import LEAST_ALPHA, SMALL_NOISE, Schedule
from dipddpm.core.ddpm.spacing import spacing
from dipddpm.core.events import StateDict

DEFAULTS = DdpmConfig()
"""The options of a solver that is asked for by its name alone."""


class Solver(ABC):
    """The base class of solvers. Multistep solvers store earlier estimates; xt is stored by the caller."""

    power: ClassVar[float] = 1.5
    """The spacing of the solver's timesteps, see `dipddpm.core.ddpm.spacing`.

    Of the powers tried, 1.5 has the least truncation error over 10 to 50 evaluations on the linear schedule, on a
    mixture of Gaussians around 400 training images.
    """

    def path(self, schedule: Schedule, timesteps: int, steps: int) -> list[int]:
        """Return the timesteps to go through in `steps` steps, from the last of `timesteps` timesteps to -1."""
        del schedule
        return [*spacing(timesteps, steps, self.power), -1]

    @abstractmethod
    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step from xt at t to the same images at `t_next`."""

    def state_dict(self) -> dict[str, Any]:
        """Return the results of earlier steps that the next step needs."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        del state


@dataclass
class Ancestral(Solver):
    """Ancestral sampling: a draw from q(x_next | xt, x0) at the estimated x0 (Ho et al. 2020, algorithm 2).

    The variance is `posterior`, the variance of this distribution, or `beta`, the variance of the noise that the
    forward process adds in this step, as published: the two choices of section 3.2. Fewer than T steps sample the
    coarser forward process with the same alpha_bar (Nichol & Dhariwal 2021, section 4).
    """

    power = 1.0
    variance: Variance = "beta"

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Draw xt at `t_next`, without noise in the last step."""
        x0, _ = denoiser(xt, t)
        return self.draw(denoiser, x0, xt, (t, t_next), generator)

    def draw(
        self, denoiser: Denoiser, x0: Tensor, xt: Tensor, t_pair: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """Draw xt at the second timestep of `t_pair`, given x0 and the xt of the first."""
        current, target = (denoiser.schedule.alpha_sigma(t) for t in t_pair)
        x0_weight, xt_weight, deviation = posterior(current, target)
        if self.variance == "beta":
            deviation = math.sqrt(added_noise(current, target))
        mean = x0_weight * x0 + xt_weight * xt
        return mean if t_pair[1] < 0 else mean + deviation * noise(xt, generator)


@dataclass
class Ddim(Solver):
    """DDIM (Song et al. 2021, eq. 12): deterministic for eta = 0, and `Ancestral("posterior")` for eta = 1."""

    eta: float = 0.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Move towards x0 along eps, and replace part of eps by fresh noise."""
        x0, eps = denoiser(xt, t)
        current, target = (denoiser.schedule.alpha_sigma(each) for each in (t, t_next))
        return self._combine(x0, eps, current, target, generator)

    def draw(
        self, denoiser: Denoiser, x0: Tensor, xt: Tensor, t_pair: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """Draw xt at the second timestep of `t_pair`, given x0 and the xt of the first."""
        current, target = (denoiser.schedule.alpha_sigma(t) for t in t_pair)
        eps = (xt - current[0] * x0) / current[1]
        return self._combine(x0, eps, current, target, generator)

    def _combine(
        self,
        x0: Tensor,
        eps: Tensor,
        current: tuple[float, float],
        target: tuple[float, float],
        generator: torch.Generator,
    ) -> Tensor:
        preserved, fresh = split_noise(self.eta, current, target)
        x = target[0] * x0 + preserved * eps
        return x + fresh * noise(x, generator) if fresh else x


class DpmSolver(Solver):
    """DPM-Solver++(2M), of second order with one evaluation per step (Lu et al. 2022, algorithm 2).

    It is DDIM, but for an x0 that is extrapolated from this step and the previous one. `eta` has DDIM's meaning: 1 is
    SDE-DPM-Solver++(2M) (Lu et al. 2022, eq. 18), whose first step is the ancestral one. The first step is of first
    order, and so is the last one, since the clean image is infinitely far in log(a / s), and a step to almost no noise.
    """

    def __init__(self, eta: float = 0.0) -> None:
        self.eta = eta
        self._previous_x0: Tensor | None = None
        self._previous_h = math.inf

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step towards the extrapolated x0, and replace part of the noise by fresh noise."""
        x0, _ = denoiser(xt, t)
        current, target = (denoiser.schedule.alpha_sigma(each) for each in (t, t_next))
        (a, s), (a_to, s_to) = current, target
        shrink = a * s_to / (a_to * s)  # exp(-h), h being the step in log(a / s)
        h = -math.log(shrink) if shrink else math.inf
        extrapolated = x0
        if self._previous_x0 is not None and s_to >= LEAST_ALPHA:
            extrapolated = x0 + h / self._previous_h / 2 * (x0 - self._previous_x0)
        self._previous_x0, self._previous_h = x0, h
        preserved, fresh = split_noise(self.eta, current, target)
        x = preserved / s * xt + (a_to - a * preserved / s) * extrapolated
        return x + fresh * noise(x, generator) if fresh else x

    def state_dict(self) -> dict[str, Any]:
        """Return the estimate of x0 in the previous step, and the length of that step."""
        return {"before": self._previous_x0, "h_before": self._previous_h}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        self._previous_x0, self._previous_h = state["before"], state["h_before"]


class Heun(Solver):
    """Heun's method on d(xt / a) = eps d(s / a), with two evaluations per step and one in the last step.

    Karras et al. 2022, algorithm 1, without added noise; the noise level s / a is their sigma. A step from pure noise,
    where s / a is huge or infinite, is an Euler step. So is a step to an image with too little noise to compute eps.
    """

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Do an Euler step, evaluate eps at its end, and redo the step with the mean of both eps."""
        del generator
        x0, eps = denoiser(xt, t)
        (a, s), (a_to, s_to) = denoiser.schedule.alpha_sigma(t), denoiser.schedule.alpha_sigma(t_next)
        euler = a_to * x0 + s_to * eps
        if t_next < 0 or min(a, s_to) < LEAST_ALPHA:
            return euler
        _, eps_next = denoiser(euler, t_next)
        return euler + a_to * (s_to / a_to - s / a) / 2 * (eps_next - eps)


@dataclass
class Restart(Heun):
    """Restart (Xu et al. 2023, algorithm 1): Heun's method, which goes through an interval of noise levels repeatedly.

    As soon as xt has the noise level `low`, fresh noise takes it up to the level `high`, and `steps` Heun steps lead
    down again, `repeats` times. With an exact network this leaves the distribution unchanged; otherwise each restart
    replaces a part of the error from earlier steps by the error of the interval alone. The levels are standard
    deviations in 8-bit grey levels; one grey level is s / a = 2 / 255. The fresh noise follows the forward process; in
    xt / a it is the paper's noise of variance high^2 - low^2.
    """

    repeats: int
    steps: int
    low: float
    high: float

    def path(self, schedule: Schedule, timesteps: int, steps: int) -> list[int]:
        """Return the timesteps of Heun's method with the restarts between them.

        The timestep nearest to `low` is moved there, except for the first one; if it is the only one, nothing is
        restarted. The steps of a restart are spaced as the others are, and at most as many as there are timesteps.
        """
        main = super().path(schedule, timesteps, steps)
        low, high = (schedule.timestep(level / 255) for level in (self.low, self.high))
        high = min(high, main[0])
        if steps == 1 or low >= high:
            return main
        nearest = min(range(1, steps), key=lambda i: abs(main[i] - low))
        down = [low + 1 + t for t in spacing(high - low, min(self.steps, high - low), self.power)]
        return [*main[:nearest], *[low, *down] * self.repeats, low, *main[nearest + 1 :]]

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Do a step of Heun's method, or add fresh noise if `t_next` > t."""
        if t_next < t:
            return super().step(denoiser, xt, t, t_next, generator)
        target, current = (denoiser.schedule.alpha_sigma(each) for each in (t, t_next))
        return current[0] / target[0] * xt + math.sqrt(added_noise(current, target)) * noise(xt, generator)


def solver(name: SamplerName, options: DdpmConfig = DEFAULTS) -> Solver:
    """Return the solver of this name, with its settings from the options of the diffusion model."""
    match name:
        case "ancestral":
            return Ancestral(options.variance)
        case "ddim":
            return Ddim(options.eta)
        case "dpm++":
            return DpmSolver(options.eta)
        case "heun":
            return Heun()
        case "restart":
            return Restart(options.restarts, options.restart_steps, options.restart_low, options.restart_high)


def split_noise(eta: float, current: tuple[float, float], target: tuple[float, float]) -> tuple[float, float]:
    """Return the standard deviations of the noise that a step preserves and of its fresh noise (DDIM, eq. 16).

    Their squares sum to the variance of the target's noise. eta = 1 takes the variance of q(x_next | xt, x0).
    """
    fresh = eta * target[1] / current[1] * math.sqrt(added_noise(current, target))
    return math.sqrt(max(0.0, target[1] ** 2 - fresh**2)), fresh


def posterior(current: tuple[float, float], target: tuple[float, float]) -> tuple[float, float, float]:
    """Return the weights of x0 and xt in the mean of q(x_next | xt, x0), and its standard deviation.

    Ho et al. 2020, eq. 7. Both noise levels are given as (a, s), so that a step may span several timesteps.
    """
    (a, s), (a_to, s_to) = current, target
    added = added_noise(current, target)
    x0_weight, xt_weight = a_to * added / s**2, a / a_to * (s_to / s) ** 2
    return x0_weight, xt_weight, math.sqrt(added) * s_to / s


def added_noise(current: tuple[float, float], target: tuple[float, float]) -> float:
    """Return 1 - (a / a_to)^2, the variance of the noise that the forward process adds from `target` to `current`.

    Near the clean image, where a is almost 1, the difference of a^2 has no digits left, and that of s^2 is used.
    """
    (a, s), (a_to, s_to) = current, target
    return max(0.0, (s**2 - s_to**2) / a_to**2 if s**2 < SMALL_NOISE else 1 - (a / a_to) ** 2)


def noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise with the shape, dtype and device of a tensor."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
