"""The methods by name, and a restoration by one of them, done by iterating."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior.guided import Dps, Mmps, PiGdm
from dipddpm.core.ddpm.posterior.problem import Problem
from dipddpm.core.ddpm.posterior.proximal import DiffPir, Robust
from dipddpm.core.ddpm.posterior.spectral import Ddnm, Ddrm
from dipddpm.core.ddpm.sampling import AveragedSampling
from dipddpm.core.ddpm.solvers import Solver
from dipddpm.core.degrade import Degradation, Identity
from dipddpm.core.errors import UserError


@dataclass
class PosteriorMean(Solver):
    """E[x0 | y] in one evaluation, for denoising: sqrt(alpha_bar) y is distributed as xt of the same noise level.

    For Gaussian noise this estimate has the least mean squared error that the network can reach. Each image uses the
    timestep with the noise level nearest to its own. Raises UserError for any task but denoising.
    """

    problem: Problem

    def __post_init__(self) -> None:
        if not isinstance(self.problem.operator, Identity):
            raise UserError("The one-step posterior mean only denoises.", "Choose ddnm, diffpir or dps for this task.")

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Return the estimate of x0 from y; xt and the timesteps are ignored."""
        del xt, t, t_next, generator
        sigmas = (self.problem.sigma / 2).flatten().tolist()
        times = torch.tensor([denoiser.schedule.timestep(sigma) for sigma in sigmas], device=self.problem.y.device)
        start = denoiser.schedule.add_noise(self.problem.y, torch.zeros_like(self.problem.y), times)
        return denoiser(start, times)[0]


METHODS: dict[str, Callable[..., Solver]] = {
    "posterior-mean": PosteriorMean,
    "ddrm": Ddrm,
    "ddnm": Ddnm,
    "diffpir": DiffPir,
    "robust": Robust,
    "dps": Dps,
    "pigdm": PiGdm,
    "mmps": Mmps,
}
"""The methods by name; a method's options are the arguments of its constructor after the problem."""


class Restoration(AveragedSampling):
    """A restoration of images of `shape` (N, C, H, W) from measurements y by one of `METHODS`, done by iterating.

    `images` is the result: the mean of `samples` restorations of each image. The mean has up to 3 dB more PSNR than a
    single restoration, and less detail. The one-step posterior mean ignores `steps`. Resumes as `Sampling` does, with
    the same measurements and options.
    """

    def __init__(
        self,
        method: str,
        denoiser: Denoiser,
        y: Tensor,
        degradation: Degradation,
        shape: tuple[int, int, int, int],
        *,
        steps: int = 100,
        samples: int = 1,
        seed: int = 0,
        options: dict[str, float] | None = None,
    ) -> None:
        indices = [i for i in range(shape[0]) for _ in range(samples)]
        repeated = (len(indices), *shape[1:])
        problem = Problem(y[indices], degradation.select(indices), repeated)
        solver = METHODS[method](problem, **(options or {}))
        steps = 1 if isinstance(solver, PosteriorMean) else steps
        super().__init__(denoiser, solver, repeated, count=samples, steps=steps, device=y.device, seed=seed)

    @property
    def samples(self) -> Tensor | None:
        """The current samples, as of any averaged sampling; None for the posterior mean, which has no random draws."""
        return None if isinstance(self.solver, PosteriorMean) else super().samples
