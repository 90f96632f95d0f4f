"""DDRM and DDNM+: the rule of a step depends on the singular value of each component of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.solvers import Solver, noise

TINY = 1e-12


@dataclass
class Ddrm(Solver):
    """DDRM (Kawar et al. 2022, section 3): each singular component follows y as far as the noise of y allows.

    Their noise levels are those of xt / sqrt(alpha_bar_t). In a component that y measures with less noise than
    `t_next` has, x0 moves towards y by the share `follow` (their eta_b), and fresh noise is added so that, together
    with the noise from y, it has the noise level of `t_next`. In a component that y measures with more noise, x0 moves
    only part of the way, so that the share `eta` of the noise is still drawn. Neither keeps old noise, since the noise
    of y in it would accumulate. Unmeasured components take a DDIM step with the share `eta` of fresh noise. The shares
    are the authors' own. They begin with y, noised to the first level; here, sampling begins with pure noise, from
    which this differs by the tiny signal at the last timestep.
    """

    power = 1.0
    problem: Problem
    eta: float = 0.85
    follow: float = 1.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step from xt to `t_next` through an x0 that is consistent with y."""
        operator, y = self.problem.operator, self.problem.y
        x0, eps = denoiser(xt, t)
        a, s = denoiser.schedule.alpha_sigma(t_next)
        retained_sigma = math.sqrt(1 - self.eta**2) * s

        def noise_from_y(value: Tensor) -> Tensor:
            return torch.where(value > 0, a * self.problem.sigma / value.clamp(min=TINY), 0.0)

        def x0_gain(value: Tensor) -> Tensor:
            partial = retained_sigma / noise_from_y(value).clamp(min=TINY)
            return torch.where(noise_from_y(value) > s, partial, self.follow)

        def fresh_noise_gain(value: Tensor) -> Tensor:
            free_sigma = (s**2 - (self.follow * noise_from_y(value)).square()).clamp(min=0).sqrt()
            return torch.where((value > 0) & (noise_from_y(value) <= s), free_sigma, self.eta * s)

        def eps_gain(value: Tensor) -> Tensor:
            return retained_sigma * (value == 0).to(value.dtype)

        consistent_x0 = x0 - operator.spectral_filter(operator.pinv(operator.A(x0) - y), x0_gain)
        if t_next < 0:
            return consistent_x0
        fresh_noise = operator.spectral_filter(noise(xt, generator), fresh_noise_gain)
        return a * consistent_x0 + operator.spectral_filter(eps, eps_gain) + fresh_noise


@dataclass
class Ddnm(Ddrm):
    """DDNM+ (Wang et al. 2023, section 3.3) without time travel, which is what distinguishes it from DDRM.

    The rule for each component follows the authors' code, which differs from their paper: it draws more noise than an
    ancestral step does. So early errors can be corrected, and unmeasured components are pulled towards their mean. This
    is DDRM's rule with its usual `follow` of 1.
    """
