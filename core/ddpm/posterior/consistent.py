"""The two halves of a step of DDRM, DDNM+ and DiffPIR: an x0 that agrees with y, then the step through it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Solver


@dataclass(frozen=True)
class Estimates:
    """The network's estimates of x0 and eps from xt at timestep t, before a step to `t_next`; all (N, C, H, W)."""

    schedule: Schedule
    xt: Tensor
    x0: Tensor
    eps: Tensor
    t: int
    t_next: int


class DataConsistent(Solver):
    """The base class of samplers that first make x0 consistent with y, and then step to `t_next` through it."""

    power: ClassVar[float] = 1.0
    problem: Problem

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step from xt to `t_next` through an x0 that is consistent with y."""
        estimates = Estimates(denoiser.schedule, xt, *denoiser(xt, t), t, t_next)
        return self.advance(self.consistent(estimates), estimates, generator)

    @abstractmethod
    def consistent(self, estimates: Estimates) -> Tensor:
        """Return the network's x0, pulled towards y."""

    @abstractmethod
    def advance(self, x0: Tensor, estimates: Estimates, generator: torch.Generator) -> Tensor:
        """Return xt at `t_next`, given a consistent x0; x0 itself at the clean image."""
