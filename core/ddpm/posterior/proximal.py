"""DiffPIR, and a robust form of it: x0 is pulled towards y by an optimisation, then noised again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.posterior.consistent import DataConsistent, Estimates
from dipddpm.core.ddpm.posterior.problem import MIN_SIGMA, Problem, dot
from dipddpm.core.ddpm.solvers import noise
from dipddpm.core.degrade import Operator

LEAST_RHO = 1e-8
"""Least weight of the distance from x0; it matters only where there is almost no noise in xt."""
REWEIGHTINGS = 5
"""Rounds of reweighted least squares in each step of `Robust`; each begins at the result of the previous one."""
CG_STEPS = 3
"""Steps of conjugate gradients in a round; one step is exact unless the task is deblurring."""


@dataclass
class DiffPir(DataConsistent):
    """DiffPIR (Zhu et al. 2023, algorithm 1): x0 is pulled towards y by a proximal step, then noised again.

    `pull` is their lambda and `renewed` their zeta, the share of fresh noise. The defaults were the best on training
    images, on four noisy tasks in 50 steps. They draw all noise afresh, since the old noise contains the noise of y.
    """

    problem: Problem
    pull: float = 1.0
    renewed: float = 1.0

    def consistent(self, estimates: Estimates) -> Tensor:
        """Return x0, pulled towards y by a proximal step."""
        a, s = estimates.schedule.alpha_sigma(estimates.t)
        return self.fit(estimates.x0, s / a)

    def advance(self, x0: Tensor, estimates: Estimates, generator: torch.Generator) -> Tensor:
        """Add noise to x0: the share `renewed` is fresh, the rest is the eps that leads from this x0 to xt."""
        if estimates.t_next < 0:
            return x0
        (a, s), (a_to, s_to) = (estimates.schedule.alpha_sigma(t) for t in (estimates.t, estimates.t_next))
        eps = (estimates.xt - a * x0) / s
        mixed = math.sqrt(1 - self.renewed) * eps + math.sqrt(self.renewed) * noise(x0, generator)
        return a_to * x0 + s_to * mixed

    def fit(self, x0: Tensor, deviation: float) -> Tensor:
        """Return the x that minimises |A x - y|^2 / sigma^2 + pull |x - x0|^2 / deviation^2."""
        rho = self.pull * self.problem.positive_sigma.square() / deviation**2
        return self.problem.operator.prox(x0, self.problem.y, rho.clamp(min=LEAST_RHO))


@dataclass
class Robust(DiffPir):
    """DiffPIR with Huber's loss for the misfit to y, for impulses and other outliers.

    The loss is minimised by iteratively reweighted least squares. A residual r has the weight min(1, delta / |r|), the
    square of the factor min(1, sqrt(delta / |r|)) in Robust-CG (arXiv 2605.09477). That paper also refines y by an
    estimate of its noise; this isn't done here, and the loop around the fit is DiffPIR's.

    `sigma` is the least noise that is assumed in values that aren't impulses, on images in [0, 1], and `delta` is a
    difference in model space. Mainly their ratio delta / sigma^2 matters: the larger it is, the longer y is trusted
    against the network. The defaults were the best of 20 settings at 100 steps, for impulses in a tenth of the values
    of six training images and six patches from number 100,000 on. With impulses in 30% of the values, a delta of 0.003
    gained 2 to 4 dB.
    """

    sigma: float = 0.02
    delta: float = 0.004

    def fit(self, x0: Tensor, deviation: float) -> Tensor:
        """Return the x that minimises huber(A x - y) / sigma^2 + pull |x - x0|^2 / deviation^2."""
        operator, y = self.problem.operator, self.problem.y
        sigma = self.problem.sigma_without_impulses.clamp(min=2 * max(self.sigma, MIN_SIGMA))
        rho = (self.pull * sigma.square() / deviation**2).clamp(min=LEAST_RHO)
        x = x0
        for _ in range(REWEIGHTINGS):
            weight = self.delta / (operator.A(x) - y).abs().clamp(min=self.delta)
            x = weighted_prox(operator, x0, y, weight, rho)
        return x


def weighted_prox(operator: Operator, v: Tensor, y: Tensor, weight: Tensor, rho: Tensor) -> Tensor:
    """Return the x that minimises weight |A x - y|^2 + rho |x - v|^2, where the positive `weight` is shaped like y.

    By the matrix inversion lemma x = v + A'u, where (A A' + rho / weight) u = y - A v. This is solved by preconditioned
    conjugate gradients. The preconditioner is exact where no two measurements have pixels in common, since A A' is
    diagonal there.
    """
    ones = operator.A(operator.adjoint(torch.ones_like(y)))
    ridge = rho / weight
    u, r = torch.zeros_like(y), (y - operator.A(v)) * operator.measured(y)
    p = z = r / (ones + ridge)
    for _ in range(CG_STEPS):
        q = operator.A(operator.adjoint(p)) + ridge * p
        rz = dot(r, z)
        step = rz / dot(p, q).clamp(min=1e-30)
        u, r = u + step * p, r - step * q
        z = r / (ones + ridge)
        p = z + dot(r, z) / rz.clamp(min=1e-30) * p
    return v + operator.adjoint(u)
