"""Restoration with a trained network: from y = A x + noise to images, each method a solver that also looks at y.

All happens in model space, where an image is 2x - 1, y becomes 2y - A 1 and the noise twice as large. Sources: DDNM+
(Wang et al., ICLR 2023), DiffPIR (Zhu et al., CVPR workshops 2023), DPS (Chung et al., ICLR 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import Ancestral, Solver, noise
from dipddpm.core.degrade import Degradation, Identity, SaltAndPepper
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_unit

MIN_SIGMA = 1e-3
"""DiffPIR takes the measurement to have at least this much noise, on images in [0, 1]; its step is undefined at 0."""
TINY = 1e-12


class Problem:
    """A measurement in model space: `operator`, `y` shaped like its output, and `sigma`, its noise, (N, 1, 1, 1).

    Methods for Gaussian noise are given other kinds as Gaussian of the same variance on average: Poisson's follows
    from y, salt-and-pepper's is at most hit / 2.
    """

    def __init__(self, y: Tensor, degradation: Degradation, shape: tuple[int, ...]) -> None:
        self.operator = degradation.operator
        self.y = 2 * y - self.operator.A(torch.ones(shape, device=y.device, dtype=y.dtype))
        self.shape = shape
        variance = degradation.expected_residual(y)
        if variance is None:
            known = degradation.noise.hit / 2 if isinstance(degradation.noise, SaltAndPepper) else 0.0
            variance = y.new_full((len(y),), known)
        self.sigma = 2 * variance.clamp(min=0).sqrt().view(-1, 1, 1, 1)


@dataclass
class PosteriorMean(Solver):
    """E[x0 | y] in one evaluation, for denoising: sqrt(alpha_bar) y is distributed as xt where the noise is alike.

    For Gaussian noise this is the least mean squared error that the network can have. Each image has the timestep
    whose noise is nearest to its own. Raises UserError for anything but denoising.
    """

    problem: Problem

    def __post_init__(self) -> None:
        if not isinstance(self.problem.operator, Identity):
            raise UserError("The one-step posterior mean only denoises.", "Choose ddnm, diffpir or dps for this task.")

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """The estimate of x0 from y; what there was before plays no part."""
        del xt, t, t_next, generator
        sigmas = (self.problem.sigma / 2).flatten().tolist()
        times = torch.tensor([denoiser.schedule.timestep(sigma) for sigma in sigmas], device=self.problem.y.device)
        start = denoiser.schedule.add_noise(self.problem.y, torch.zeros_like(self.problem.y), times)
        return denoiser(start, times)[0]


@dataclass
class Ddnm(Solver):
    """DDNM+ (Wang et al. 2023, section 3.3): x0 is replaced by what agrees with y, as far as its noise allows.

    Along each singular component that y tells of, x0 moves towards y, and noise is drawn anew so that this and what y
    brings in make up the noise at `to`; where y is noisier than that, x0 moves only so far that `eta` of the noise is
    left to be drawn. Nothing of the old noise stays there, since y's own would add up. What y doesn't tell of takes a
    DDIM step with `eta` of its noise drawn anew. The rule for each component is that of their code, which differs from
    the paper's in drawing more than an ancestral step does: a wrong beginning can be put right, and what y leaves open
    is pulled towards its mean. Without time travel.
    """

    power = 1.0
    problem: Problem
    eta: float = 0.85

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """From xt to `to` by way of an x0 that agrees with y."""
        operator, y = self.problem.operator, self.problem.y
        x0, eps = denoiser(xt, t)
        a, s = denoiser.schedule.alpha_sigma(t_next)
        kept_sigma = math.sqrt(1 - self.eta**2) * s

        def noise_from_y(value: Tensor) -> Tensor:
            return torch.where(value > 0, a * self.problem.sigma / value.clamp(min=TINY), 0.0)

        def x0_gain(value: Tensor) -> Tensor:
            return torch.where(noise_from_y(value) > s, kept_sigma / noise_from_y(value).clamp(min=TINY), 1.0)

        def fresh_noise_gain(value: Tensor) -> Tensor:
            free_sigma = (s**2 - noise_from_y(value).square()).clamp(min=0).sqrt()
            return torch.where((value > 0) & (noise_from_y(value) <= s), free_sigma, self.eta * s)

        def eps_gain(value: Tensor) -> Tensor:
            return kept_sigma * (value == 0).to(value.dtype)

        consistent_x0 = x0 - operator.spectral_filter(operator.pinv(operator.A(x0) - y), x0_gain)
        if t_next < 0:
            return consistent_x0
        fresh_noise = operator.spectral_filter(noise(xt, generator), fresh_noise_gain)
        return a * consistent_x0 + operator.spectral_filter(eps, eps_gain) + fresh_noise


@dataclass
class DiffPir(Solver):
    """DiffPIR (Zhu et al. 2023, algorithm 1): x0 is pulled towards y by a proximal step, then noised again.

    `pull` is their lambda and `renewed` their zeta, the share of the noise that is drawn anew. The defaults did best
    on training images, on four noisy tasks in 50 steps; old noise that is carried on holds that of the measurement.
    """

    power = 1.0
    problem: Problem
    pull: float = 1.0
    renewed: float = 1.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """From xt to `to` by way of the proximal point of x0."""
        x0, _ = denoiser(xt, t)
        (a, s), (a_to, s_to) = denoiser.schedule.alpha_sigma(t), denoiser.schedule.alpha_sigma(t_next)
        rho = self.pull * self.problem.sigma.clamp(min=2 * MIN_SIGMA).square() * a**2 / s**2
        x0 = self.problem.operator.prox(x0, self.problem.y, rho.clamp(min=1e-8))
        if t_next < 0:
            return x0
        eps = (xt - a * x0) / s
        mixed = math.sqrt(1 - self.renewed) * eps + math.sqrt(self.renewed) * noise(xt, generator)
        return a_to * x0 + s_to * mixed


@dataclass
class Dps(Solver):
    """DPS (Chung et al. 2023, algorithm 1): ancestral steps, each moved against the gradient of |y - A x0(xt)|.

    `scale` is their zeta', for the norm and not its square. Needs the gradient through the network, which takes about
    twice as long as an evaluation and is not counted as one.
    """

    power = 1.0
    problem: Problem
    scale: float = 1.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """An ancestral step, and a step down the gradient."""
        with torch.enable_grad():
            xt = xt.detach().requires_grad_()
            x0, _ = denoiser(xt, t)
            difference = self.problem.y - self.problem.operator.A(x0)
            norm = difference.flatten(1).norm(dim=1).sum()
            (gradient,) = torch.autograd.grad(norm, xt)
        x = Ancestral("posterior").draw(denoiser, x0.detach(), xt.detach(), (t, t_next), generator)
        return x - self.scale * gradient


METHODS: dict[str, type[PosteriorMean | Ddnm | DiffPir | Dps]] = {
    "posterior-mean": PosteriorMean,
    "ddnm": Ddnm,
    "diffpir": DiffPir,
    "dps": Dps,
}
"""The methods by name; what their constructors take beside the problem are their options."""


class Restoration(Sampling):
    """Restore measurements y of images of `shape` (N, C, H, W) by one of `METHODS`, as something that one iterates.

    `images` is the result: the mean of `samples` restorations of each image, which has up to 3 dB more PSNR than one
    of them and less of its detail. `steps` is ignored by the one-step posterior mean. Resumes as `Sampling` does, with
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
        self.samples = samples
        indices = [i for i in range(shape[0]) for _ in range(samples)]
        repeated = (len(indices), *shape[1:])
        problem = Problem(y[indices], degradation.select(indices), repeated)
        solver = METHODS[method](problem, **(options or {}))
        steps = 1 if isinstance(solver, PosteriorMean) else steps
        super().__init__(denoiser, solver, repeated, steps=steps, device=y.device, seed=seed)

    @property
    def images(self) -> Tensor:
        """The restored images (N, C, H, W) as they stand, in [0, 1] but not clipped."""
        return to_unit(self.xt.view(-1, self.samples, *self.xt.shape[1:]).mean(1))

    @property
    def nfe(self) -> int:
        """How often the network has seen each image, all its samples together."""
        return self.evaluations * self.samples
