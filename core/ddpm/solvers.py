"""Ways from one noise level to a lower one: the steps of which sampling is made.

In xt = a x0 + s eps, a and s are sqrt(alpha_bar) and sqrt(1 - alpha_bar). A step goes from timestep t to
`t_next` < t, and t_next = -1 is the clean image, where a = 1 and s = 0. Coefficients are computed in float64.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import SamplerName, Variance
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.events import StateDict


class Solver(ABC):
    """One kind of step. Holds what it needs of earlier steps, and nothing of the images' own."""

    power: ClassVar[float] = 1.5
    """How its timesteps are spaced, see `dipddpm.core.ddpm.sampling.spacing`.

    1.5 has the least truncation error of those tried, over 10 to 50 evaluations on the linear schedule, for data that
    are Gaussians around 400 training images.
    """

    @abstractmethod
    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """From xt at t to the same images at `t_next`."""

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs of the earlier ones."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        del state


@dataclass
class Ancestral(Solver):
    """A draw from q(x_to | xt, x0) at the estimated x0 (Ho et al. 2020, algorithm 2).

    The variance is `posterior`, that of this distribution, or `beta`, that of the noise which the forward process
    adds on the way, as published: the two choices of section 3.2. Fewer than T steps are those of the coarser forward
    process with the same alpha_bar (Nichol & Dhariwal 2021, section 4).
    """

    power = 1.0
    variance: Variance = "beta"

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """One draw, without noise in the last step."""
        x0, _ = denoiser(xt, t)
        return self.draw(denoiser, x0, xt, (t, t_next), generator)

    def draw(
        self, denoiser: Denoiser, x0: Tensor, xt: Tensor, t_pair: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """The draw for a given x0, from the first timestep of `step` to the second."""
        here, there = (denoiser.schedule.alpha_sigma(t) for t in t_pair)
        of_x0, of_xt, deviation = posterior(here, there)
        if self.variance == "beta":
            deviation = math.sqrt(1 - here[0] ** 2 / there[0] ** 2)
        mean = of_x0 * x0 + of_xt * xt
        return mean if t_pair[1] < 0 else mean + deviation * noise(xt, generator)


@dataclass
class Ddim(Solver):
    """Song et al. 2021, eq. 12, with eta = 0 deterministic and eta = 1 as random as `Ancestral("posterior")`."""

    eta: float = 0.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Towards x0 along eps, of which a part is drawn anew."""
        x0, eps = denoiser(xt, t)
        (a, s), (a_to, s_to) = denoiser.schedule.alpha_sigma(t), denoiser.schedule.alpha_sigma(t_next)
        sigma = self.eta * s_to / s * math.sqrt(max(0.0, 1 - a**2 / a_to**2))
        x = a_to * x0 + math.sqrt(s_to**2 - sigma**2) * eps
        return x + sigma * noise(xt, generator) if sigma else x


class DpmSolver(Solver):
    """DPM-Solver++(2M), second order with one evaluation a step (Lu et al. 2022, algorithm 2).

    The first step and the one to the clean image, which is infinitely far in log(a / s), are of first order.
    """

    def __init__(self) -> None:
        self._previous_x0: Tensor | None = None
        self._previous_h = math.inf

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Extrapolate x0 from this step and the one before, and go there."""
        del generator
        x0, _ = denoiser(xt, t)
        (a, s), (a_to, s_to) = denoiser.schedule.alpha_sigma(t), denoiser.schedule.alpha_sigma(t_next)
        shrink = a * s_to / (a_to * s)  # exp(-h), h being the step in log(a / s)
        h = -math.log(shrink) if shrink else math.inf
        ahead = x0
        if self._previous_x0 is not None and math.isfinite(h):
            ahead = x0 + h / self._previous_h / 2 * (x0 - self._previous_x0)
        self._previous_x0, self._previous_h = x0, h
        return s_to / s * xt + a_to * (1 - shrink) * ahead

    def state_dict(self) -> dict[str, Any]:
        """The estimate of x0 in the step before, and the length of that step."""
        return {"before": self._previous_x0, "h_before": self._previous_h}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from the step before."""
        self._previous_x0, self._previous_h = state["before"], state["h_before"]


class Heun(Solver):
    """Heun's method on d(xt / a) = eps d(s / a): two evaluations a step, one in the last (Karras et al. 2022, alg. 1).

    As there without added noise; the noise level s / a is their sigma. A step from pure noise (a = 0) is Euler's.
    """

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Go, look, and go again along the mean of both directions."""
        del generator
        x0, eps = denoiser(xt, t)
        (a, s), (a_to, s_to) = denoiser.schedule.alpha_sigma(t), denoiser.schedule.alpha_sigma(t_next)
        there = a_to * x0 + s_to * eps
        if t_next < 0 or a == 0:
            return there
        _, eps_there = denoiser(there, t_next)
        return there + a_to * (s_to / a_to - s / a) / 2 * (eps_there - eps)


def solver(name: SamplerName, *, eta: float = 0.0, variance: Variance = "beta") -> Solver:
    """The solver that a config or an option names; `eta` is DDIM's, `variance` that of ancestral steps."""
    if name == "ancestral":
        return Ancestral(variance)
    if name == "ddim":
        return Ddim(eta)
    return DpmSolver() if name == "dpm++" else Heun()


def posterior(here: tuple[float, float], there: tuple[float, float]) -> tuple[float, float, float]:
    """The weights of x0 and xt in the mean of q(x_to | xt, x0), and its standard deviation (Ho et al. 2020, eq. 7).

    From and to are given as (a, s), so that steps may span several timesteps.
    """
    (a, s), (a_to, s_to) = here, there
    alpha_ratio = a**2 / a_to**2
    of_x0, of_xt = a_to * (1 - alpha_ratio) / s**2, math.sqrt(alpha_ratio) * s_to**2 / s**2
    return of_x0, of_xt, math.sqrt(1 - alpha_ratio) * s_to / s


def noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise for a tensor like this one."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
