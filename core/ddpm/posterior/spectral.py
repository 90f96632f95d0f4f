"""DDRM and DDNM+: the rule of a step depends on the singular value of each component of the image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.posterior.consistent import DataConsistent, Estimates
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.solvers import noise

TINY = 1e-12


@dataclass
class Ddrm(DataConsistent):
    """DDRM (Kawar et al. 2022, section 3): each singular component follows y as far as the noise of y allows.

    Their noise levels are those of xt / sqrt(alpha_bar_t). In a component that y measures with less noise than
    `t_next` has, x0 moves towards y by the share `follow` (their eta_b), and fresh noise is added so that, together
    with the noise from y, it has the noise level of `t_next`. In a component that y measures with more noise, x0 moves
    only part of the way, so that the share `eta` of the noise is still drawn. Neither keeps old noise, since the noise
    of y in it would accumulate. Unmeasured components take a DDIM step with the share `eta` of fresh noise. The shares
    are the authors' own. They begin with y, noised to the first level; here, sampling begins with pure noise, from
    which this differs by the tiny signal at the last timestep.
    """

    problem: Problem
    eta: float = 0.85
    follow: float = 1.0

    def consistent(self, estimates: Estimates) -> Tensor:
        """Return x0, moved towards y in each component by the share that the noise of y allows."""
        operator, s = self.problem.operator, estimates.schedule.alpha_sigma(estimates.t_next)[1]
        noise_from_y, x0 = self._noise_from_y(estimates), estimates.x0

        def x0_gain(value: Tensor) -> Tensor:
            partial = math.sqrt(1 - self.eta**2) * s / noise_from_y(value).clamp(min=TINY)
            return torch.where(noise_from_y(value) > s, partial, self.follow)

        return x0 - operator.spectral_filter(operator.pinv(operator.A(x0) - self.problem.y), x0_gain)

    def advance(self, x0: Tensor, estimates: Estimates, generator: torch.Generator) -> Tensor:
        """Add fresh noise in measured components, and partly old noise in the others."""
        if estimates.t_next < 0:
            return x0
        operator, (a, s) = self.problem.operator, estimates.schedule.alpha_sigma(estimates.t_next)
        noise_from_y = self._noise_from_y(estimates)

        def fresh_noise_gain(value: Tensor) -> Tensor:
            free_sigma = (s**2 - (self.follow * noise_from_y(value)).square()).clamp(min=0).sqrt()
            return torch.where((value > 0) & (noise_from_y(value) <= s), free_sigma, self.eta * s)

        def eps_gain(value: Tensor) -> Tensor:
            return math.sqrt(1 - self.eta**2) * s * (value == 0).to(value.dtype)

        fresh_noise = operator.spectral_filter(noise(x0, generator), fresh_noise_gain)
        return a * x0 + operator.spectral_filter(estimates.eps, eps_gain) + fresh_noise

    def _noise_from_y(self, estimates: Estimates) -> Callable[[Tensor], Tensor]:
        """Return a function of the singular values: the noise that y brings into such a component at `t_next`."""
        a = estimates.schedule.alpha_sigma(estimates.t_next)[0]
        return lambda value: torch.where(value > 0, a * self.problem.sigma / value.clamp(min=TINY), 0.0)


@dataclass
class Ddnm(Ddrm):
    """DDNM+ (Wang et al. 2023, section 3.3) without time travel, which is what distinguishes it from DDRM.

    The rule for each component follows the authors' code, which differs from their paper: it draws more noise than an
    ancestral step does. So early errors can be corrected, and unmeasured components are pulled towards their mean. This
    is DDRM's rule with its usual `follow` of 1.
    """
