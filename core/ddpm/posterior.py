"""Restoration of images from y = A x + noise with a trained network; each method is a solver that also uses y.

The methods work in model space, where an image is 2x - 1, the measurement is 2y - A 1 and the noise is twice as large.
Sources: DDNM+ (Wang et al., ICLR 2023), DiffPIR (Zhu et al., CVPR workshops 2023), DPS (Chung et al., ICLR 2023).
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
"""Least noise that DiffPIR assumes in a measurement, on images in [0, 1]; its step is undefined without noise."""
TINY = 1e-12


class Problem:
    """A measurement in model space: the `operator`, `y` shaped like its output, and the noise `sigma`, (N, 1, 1, 1).

    The methods assume Gaussian noise, so other noise is described by a Gaussian of the same mean variance: Poisson
    noise by an estimate from y, salt-and-pepper noise by its upper bound hit / 2.
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


@dataclass
class Ddnm(Solver):
    """DDNM+ (Wang et al. 2023, section 3.3): x0 is made consistent with y, as far as the noise of y allows.

    In each measured singular component, x0 moves towards y. Fresh noise is added so that, together with the noise from
    y, it has the noise level of `t_next`. Where y is noisier than that, x0 moves only part of the way, so that `eta` of
    the noise is still drawn. Measured components drop all old noise, since the noise of y in it would accumulate.
    Unmeasured components take a DDIM step with a fraction `eta` of fresh noise. The rule for each component follows the
    authors' code, which differs from the paper: it draws more noise than an ancestral step does. So early errors can be
    corrected, and unmeasured components are pulled towards their mean. Time travel is not implemented.
    """

    power = 1.0
    problem: Problem
    eta: float = 0.85

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step from xt to `t_next` through an x0 that is consistent with y."""
        operator, y = self.problem.operator, self.problem.y
        x0, eps = denoiser(xt, t)
        a, s = denoiser.schedule.alpha_sigma(t_next)
        retained_sigma = math.sqrt(1 - self.eta**2) * s

        def noise_from_y(value: Tensor) -> Tensor:
            return torch.where(value > 0, a * self.problem.sigma / value.clamp(min=TINY), 0.0)

        def x0_gain(value: Tensor) -> Tensor:
            return torch.where(noise_from_y(value) > s, retained_sigma / noise_from_y(value).clamp(min=TINY), 1.0)

        def fresh_noise_gain(value: Tensor) -> Tensor:
            free_sigma = (s**2 - noise_from_y(value).square()).clamp(min=0).sqrt()
            return torch.where((value > 0) & (noise_from_y(value) <= s), free_sigma, self.eta * s)

        def eps_gain(value: Tensor) -> Tensor:
            return retained_sigma * (value == 0).to(value.dtype)

        consistent_x0 = x0 - operator.spectral_filter(operator.pinv(operator.A(x0) - y), x0_gain)
        if t_next < 0:
            return consistent_x0
        fresh_noise = operator.spectral_filter(noise(xt, generator), fresh_noise_gain)
        return a * consistent_x0 + operator.spectral_filter(eps, eps_gain) + fresh_noise


@dataclass
class DiffPir(Solver):
    """DiffPIR (Zhu et al. 2023, algorithm 1): x0 is pulled towards y by a proximal step, then noised again.

    `pull` is their lambda and `renewed` their zeta, the share of fresh noise. The defaults were the best on training
    images, on four noisy tasks in 50 steps. They draw all noise afresh, since the old noise contains the noise of y.
    """

    power = 1.0
    problem: Problem
    pull: float = 1.0
    renewed: float = 1.0

    def step(self, denoiser: Denoiser, xt: Tensor, t: int, t_next: int, generator: torch.Generator) -> Tensor:
        """Step from xt to `t_next` through the proximal point of x0."""
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
    """DPS (Chung et al. 2023, algorithm 1): ancestral steps, each followed by a descent step on |y - A x0(xt)|.

    `scale` is their zeta', the step size for the norm (not for its square). Needs the gradient through the network,
    which takes about twice as long as an evaluation and is not counted in the NFE.
    """

    power = 1.0
    problem: Problem
    scale: float = 1.0

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


METHODS: dict[str, type[PosteriorMean | Ddnm | DiffPir | Dps]] = {
    "posterior-mean": PosteriorMean,
    "ddnm": Ddnm,
    "diffpir": DiffPir,
    "dps": Dps,
}
"""The methods by name; a method's options are the arguments of its constructor after the problem."""


class Restoration(Sampling):
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
        self.samples = samples
        indices = [i for i in range(shape[0]) for _ in range(samples)]
        repeated = (len(indices), *shape[1:])
        problem = Problem(y[indices], degradation.select(indices), repeated)
        solver = METHODS[method](problem, **(options or {}))
        steps = 1 if isinstance(solver, PosteriorMean) else steps
        super().__init__(denoiser, solver, repeated, steps=steps, device=y.device, seed=seed)

    @property
    def images(self) -> Tensor:
        """The current restored images (N, C, H, W), on the scale [0, 1] but not clipped."""
        return to_unit(self.xt.view(-1, self.samples, *self.xt.shape[1:]).mean(1))

    @property
    def nfe(self) -> int:
        """The number of network evaluations for each image, all its samples together."""
        return self.evaluations * self.samples
