"""DPS, PiGDM and MMPS: x0 is corrected with the gradient of the misfit to y through the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior.problem import Problem, dot
from dipddpm.core.ddpm.solvers import Ancestral, Ddim, Solver

Multiply: TypeAlias = Callable[[Tensor], Tensor]
"""Multiplies each image of a batch by a matrix."""
LEAST_SIGNAL = 1e-2
"""Least sqrt(alpha_bar) at which x0 is corrected. Below it, rounding errors of the gradient are amplified; and of x0,
which is multiplied by as little in the next xt, nothing can be seen."""

ROUNDING = 1e-4
"""Share of a vector that must remain after orthogonalisation for the rest not to be rounding error."""


@dataclass
class Dps(Solver):
    """DPS (Chung et al. 2023, algorithm 1): ancestral steps, each followed by a descent step on |y - A x0(xt)|.

    `scale` is their zeta', the step size for the norm (not for its square). Of 0.3 to 4, 1.5 was the best on average at
    inpainting, deblurring and denoising of six training images and six patches from number 100,000 on, in 100 steps.
    Needs the gradient through the network, which takes about twice as long as an evaluation and is not counted in the
    NFE.
    """

    power = 1.0
    problem: Problem
    scale: float = 1.5

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Do an ancestral step and a gradient descent step."""
        with torch.enable_grad():
            xt = xt.detach().requires_grad_()
            x0, _ = denoiser(xt, t)
            difference = self.problem.y - self.problem.operator.A(x0)
            norm = difference.flatten(1).norm(dim=1).sum()
            (gradient,) = torch.autograd.grad(norm, xt)
        x = Ancestral("posterior").draw(denoiser, x0.detach(), xt.detach(), (t, t_next), generator)
        return x - self.scale * gradient


class _Corrected(Solver):
    """DDIM steps with E[x0 | xt, y] in place of E[x0 | xt], the network's estimate.

    By Tweedie's formula the two differ by g = s^2 / a times the gradient of log p(y | xt) with respect to xt. With
    y ~ N(A x0, sigma^2) and x0 ~ N(x^, V) given xt, this gradient is J' A' (sigma^2 + A V A')^-1 (y - A x^), where x^
    is the network's estimate and J its derivative with respect to xt. The methods differ in V.
    """

    power = 1.0
    problem: Problem
    eta: float

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Correct x0, then do a DDIM step."""
        a, s = denoiser.schedule.alpha_sigma(t)
        if a < LEAST_SIGNAL:
            x0, _ = denoiser(xt, t)
        else:
            with torch.enable_grad():
                xt = xt.detach().requires_grad_()
                x0, _ = denoiser(xt, t)

            def covariance(v: Tensor) -> Tensor:
                """Return g J' v, which for the ideal denoiser is the covariance of x0 given xt times v."""
                (product,) = torch.autograd.grad(x0, xt, v, retain_graph=True)
                return s**2 / a * product

            x0 = x0.detach() + covariance(self.gradient(x0.detach(), (a, s), covariance))
            xt = xt.detach()
        return Ddim(self.eta).draw(denoiser, x0, xt, (t, t_next), generator)

    @abstractmethod
    def gradient(self, x0: Tensor, level: tuple[float, float], covariance: Multiply) -> Tensor:
        """Return A' (sigma^2 + A V A')^-1 (y - A x0), shaped like x0; `level` is (a, s) of xt."""


@dataclass
class PiGdm(_Corrected):
    """PiGDM (Song et al. 2023, section 3): x0 given xt is taken to have the variance V = s^2, as white data would.

    Data of variance 1 in every pixel have this V. Algorithm 1 of the paper adds the correction to the next xt, times a
    weight of its own; here it corrects x0, as the paper derives it, and takes part in the DDIM step. The gradient
    through the network isn't counted in the NFE.
    """

    problem: Problem
    eta: float = 1.0

    def gradient(self, x0: Tensor, level: tuple[float, float], covariance: Multiply) -> Tensor:
        """Return the gradient in closed form: with rho = sigma^2 / V it is (prox(x0) - x0) / V."""
        del covariance
        variance = level[1] ** 2
        rho = self.problem.positive_sigma.square() / variance
        return (self.problem.operator.prox(x0, self.problem.y, rho) - x0) / variance


@dataclass
class Mmps(PiGdm):
    """MMPS (Rozet et al. 2024, section 4.2): x0 given xt is taken to have the variance V = g J of the network.

    Their linear system is solved approximately, by `iterations` steps of a method equivalent to GMRES. It is
    preconditioned by PiGDM's system, which matters if A amplifies components very differently, as a blur does. Each
    iteration multiplies by J', which takes about as long as an evaluation and isn't counted in the NFE. The network's J
    is taken to be symmetric, which it is for the ideal denoiser.

    On six training images and six patches from number 100,000 on, 20 steps with 3 iterations take as long as 100 steps
    of DiffPIR or DDNM+. For means of eight samples, they had 0.3 and 1.9 dB more than the better of these two at
    inpainting, -0.2 and 0.6 dB at deblurring, and -0.3 dB at super-resolution of the training images.
    """

    iterations: int = 3

    def gradient(self, x0: Tensor, level: tuple[float, float], covariance: Multiply) -> Tensor:
        """Return the gradient for the V of the network, beginning with PiGDM's."""
        operator, noise, variance = self.problem.operator, self.problem.positive_sigma.square(), level[1] ** 2

        def noise_gain(value: Tensor) -> Tensor:
            return noise / (noise + variance * value.square())

        def signal_gain(value: Tensor) -> Tensor:
            return value.square() / (noise + variance * value.square())

        def multiply(x: Tensor) -> Tensor:
            return operator.spectral_filter(x, noise_gain) + operator.spectral_filter(covariance(x), signal_gain)

        return solve(multiply, super().gradient(x0, level, covariance), self.iterations)


def solve(multiply: Multiply, b: Tensor, iterations: int) -> Tensor:
    """Solve M u = b for each image of b approximately, by generalised conjugate residuals (Eisenstat et al. 1983).

    The residual is the smallest among all u that are combinations of b, M b, M^2 b and so on, as in GMRES. Directions
    that are combinations of earlier ones up to rounding are dropped; then u is as good as it gets.
    """
    u, r = torch.zeros_like(b), b
    earlier: list[tuple[Tensor, Tensor]] = []
    for _ in range(iterations):
        p, q = r, multiply(r)
        least = ROUNDING * dot(q, q).sqrt()
        for p_earlier, q_earlier in earlier:
            share = dot(q, q_earlier)
            p, q = p - share * p_earlier, q - share * q_earlier
        norm = dot(q, q).sqrt()
        scale = torch.where(norm > least, 1 / norm, 0)
        p, q = scale * p, scale * q
        step = dot(r, q)
        u, r = u + step * p, r - step * q
        earlier.append((p, q))
    return u
