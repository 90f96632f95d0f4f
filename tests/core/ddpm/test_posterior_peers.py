"""The samplers against the same methods of other packages, with the same denoiser, measurement and noise.

Their images are ours in model space, and their noise is that of y there, 2 sigma, unless a test says otherwise. azula
has our a and s as alpha and sigma. deepinv denoises x = xt / a, which has the noise level s / a. Neither has DDNM+.
The tests with azula are skipped where it isn't installed (`pip install --no-deps azula`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import deepinv  # type: ignore[import-untyped]
import pytest
import torch
from deepinv.sampling.noisy_datafidelity import (  # type: ignore[import-untyped]
    DPSDataFidelity,
    MomentMatchingDataFidelity,
    PiGDMDataFidelity,
)
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import Ddrm, DiffPir, Dps, Mmps, PiGdm, Problem
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Solver
from dipddpm.core.degrade import Degradation, GaussianNoise, Mask
from dipddpm.core.images import to_model, to_unit
from tests.core.ddpm.ideal import Finite

SCHEDULE = Schedule.from_config(DdpmConfig())
SIDE, SIGMA = 6, 0.1
SHAPE = (1, 1, SIDE, SIDE)
GENERATOR = torch.Generator().manual_seed(0)
MASK = (torch.rand(SHAPE, generator=GENERATOR) > 0.5).float()
TRUTH = torch.rand(SHAPE, generator=GENERATOR)
NETWORK = Finite(SCHEDULE, torch.randn(5, *SHAPE[1:], generator=GENERATOR))
"""The ideal denoiser of five images: not linear, and different in every pixel."""
TIMES = [900, 700, 500, 300, 150, 60, 20, -1]


def problem(sigma: float = SIGMA) -> Problem:
    y = MASK * (TRUTH + sigma * torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)))
    return Problem(y, Degradation(Mask(MASK), GaussianNoise(sigma)), SHAPE)


def denoiser(*, clip: bool = False) -> Denoiser:
    return Denoiser(NETWORK, SCHEDULE, objective="v", clip=clip)


def start(t: int) -> Tensor:
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    return SCHEDULE.add_noise(to_model(TRUTH), noise, t)


def chain(solver: Solver, xt: Tensor, times: list[int], *, clip: bool = False) -> Tensor:
    """Return xt after our steps through these times, with the noise of the generator with seed 3."""
    generator = torch.Generator().manual_seed(3)
    for pair in pairwise(times):
        xt = solver.step(denoiser(clip=clip), xt, *pair, generator).detach()
    return xt


@pytest.fixture
def equal_noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make `randn_like` draw what our steps draw, times a factor."""

    def install(factor: float) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(like: Tensor) -> Tensor:
            return factor * torch.randn(like.shape, generator=generator)

        monkeypatch.setattr(torch, "randn_like", draw)

    return install


# azula


class _Times:
    """Our schedule for azula, whose time is t / 1000; a negative time is the clean image."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, s = SCHEDULE.alpha_sigma(round(1000 * t.item()))
        return torch.tensor(a), torch.tensor(s)


def azula_denoiser() -> Any:
    """Return our network as a denoiser of azula, which gives E[x0 | xt]."""
    denoise = pytest.importorskip("azula.denoise")

    class Wrapped(denoise.Denoiser):  # type: ignore[misc, name-defined]
        schedule = _Times()

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            return denoise.DiracPosterior(mean=denoiser()(x_t.view(SHAPE), round(1000 * t.item()))[0].view(x_t.shape))

    return Wrapped()


def flat(x: Tensor) -> Tensor:
    """Measure images that azula keeps as vectors."""
    return x * MASK.view(1, -1)


def azula_chain(sampler: Any, xt: Tensor) -> Tensor:
    for t, t_next in pairwise(TIMES):
        xt = sampler.step(xt, torch.tensor(t / 1000), torch.tensor(t_next / 1000))
    return xt.view(SHAPE)


def test_mmps_chain_equals_azula(equal_noise: Callable[[float], None]) -> None:
    """They solve for A's measurements without a preconditioner; both are exact after enough iterations.

    Their DDIM has eta where ours has its square, so that both are ancestral for eta = 1.
    """
    module, samplers = pytest.importorskip("azula.guidance.mmps"), pytest.importorskip("azula.sample")
    covariance = pytest.importorskip("azula.linalg.covariance").IsotropicCovariance
    ours = chain(Mmps(problem(), iterations=SIDE**2), start(900), TIMES)
    guided = module.MMPSDenoiser(
        azula_denoiser(), problem().y.flatten(1), flat, covariance(torch.tensor((2 * SIGMA) ** 2)), iterations=SIDE**2
    )
    equal_noise(1)
    theirs = azula_chain(samplers.DDIMSampler(guided, eta=1.0), start(900).flatten(1))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_dps_chain_equals_azula(equal_noise: Callable[[float], None]) -> None:
    """Their norm is that of the whole batch, ours of each image: the same for one image."""
    module = pytest.importorskip("azula.guidance.dps")
    sampler = module.DPSSampler(azula_denoiser(), problem().y.flatten(1), flat, zeta=0.7)
    equal_noise(1)
    theirs = azula_chain(sampler, start(900).flatten(1))
    torch.testing.assert_close(chain(Dps(problem(), 0.7), start(900), TIMES), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [700, 150, 20])
def test_diffpir_proximal_step_equals_azula(t: int) -> None:
    """They put the x0 of the proximal step into DDIM; we noise it again as the paper does, so x0 is compared."""
    module = pytest.importorskip("azula.guidance.diffpir")
    guided = module.DiffPIRDenoiser(
        azula_denoiser(), problem().y.flatten(1), flat, (2 * SIGMA) ** 2, lmbda=3.0, iterations=SIDE**2
    )
    theirs = guided(start(t).flatten(1), torch.tensor(t / 1000)).mean.view(SHAPE)
    torch.testing.assert_close(chain(DiffPir(problem(), pull=3.0), start(t), [t, -1]), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [700, 300])
def test_pigdm_correction_equals_azula_without_noise(t: int, equal_noise: Callable[[float], None]) -> None:
    """They have the paper's algorithm 1, for measurements without noise: the next xt moves by a a_next J'A+(y - A x0).

    We add 1 / a times J'A+(y - A x0) to x0 instead, so J'A+(y - A x0) is compared.
    """
    module = pytest.importorskip("azula.guidance.pgdm")
    measured = problem(0.0)
    equal_noise(0)
    sampler = module.PGDMSampler(azula_denoiser(), measured.y.flatten(1), flat, flat, eta=1.0)
    theirs = sampler.step(start(t).flatten(1), torch.tensor(t / 1000), torch.tensor((t - 20) / 1000)).view(SHAPE)
    x0, _ = denoiser()(start(t), t)
    (a, s), (a_next, s_next) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(t - 20)
    retained = s_next * (a * s_next) / (a_next * s) / s  # the share of the old noise in an ancestral step
    unguided = a_next * x0 + retained * (start(t) - a * x0)
    ours = a * (chain(PiGdm(measured), start(t), [t, -1]) - x0)
    torch.testing.assert_close(ours, (theirs - unguided) / (a * a_next), rtol=0, atol=1e-4)
    assert ours.abs().max() > 0.1


# deepinv


def deepinv_denoiser(x: Tensor, sigma: Tensor | float) -> Tensor:
    """Return E[x0 | x] where x = xt / a has the noise level sigma = s / a."""
    level = torch.as_tensor(sigma).flatten()[0].item()
    t = SCHEDULE.timestep(level / 2)
    return denoiser()(SCHEDULE.alpha_sigma(t)[0] * x, t)[0]


def physics(sigma: float) -> Any:
    operator = deepinv.physics.Inpainting(img_size=SHAPE[1:], mask=MASK[0])
    operator.noise_model = deepinv.physics.GaussianNoise(sigma)
    return operator


@pytest.mark.parametrize("t", [500, 150, 20])
@pytest.mark.parametrize("method", [PiGdm, Mmps])
def test_corrected_x0_equals_deepinv(method: type[PiGdm], t: int) -> None:
    """Their gradient is that of log p(y | x), so by Tweedie's formula x0 moves by minus (s / a)^2 times it.

    PiGDM's variance, (s / a)^2 / (1 + (s / a)^2), is our s^2. Their MMPS solves by conjugate gradients. At more noise
    (s / a)^2 multiplies rounding errors beyond 1e-4.
    """
    a, s = SCHEDULE.alpha_sigma(t)
    solver = Mmps(problem(), iterations=SIDE**2) if method is Mmps else PiGdm(problem())
    term: Any = PiGDMDataFidelity(deepinv_denoiser)
    if method is Mmps:
        term = MomentMatchingDataFidelity(deepinv_denoiser, cg_max_iter=SIDE**2, cg_tol=1e-7)
    x = start(t) / a
    gradient = term.grad(x, problem().y, physics(2 * SIGMA), torch.tensor(s / a))
    theirs = deepinv_denoiser(x, s / a) - (s / a) ** 2 * gradient
    torch.testing.assert_close(chain(solver, start(t), [t, -1]), theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [900, 500, 20])
def test_dps_gradient_equals_deepinv(t: int) -> None:
    """Their gradient of the norm is with respect to x = xt / a, ours with respect to xt: 1 / a times theirs.

    Their sampler discretises an SDE in continuous time, so that only the gradient can be compared.
    """
    a, s = SCHEDULE.alpha_sigma(t)
    term = DPSDataFidelity(deepinv_denoiser, clip=None)
    theirs = term.grad(start(t) / a, problem().y, physics(2 * SIGMA), torch.tensor(s / a)) / a
    ours = denoiser()(start(t), t)[0] - chain(Dps(problem(), 1.0), start(t), [t, -1])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_ddrm_chain_equals_deepinv(equal_noise: Callable[[float], None]) -> None:
    """They divide all fresh noise by the square root of 2, which the paper doesn't; their noise is multiplied by it.

    They begin with y, noised to the first level, so our chain begins there too.
    """
    levels = [s / a for a, s in map(SCHEDULE.alpha_sigma, TIMES[:-1])]
    equal_noise(math.sqrt(2))
    model = deepinv.sampling.DDRM(deepinv_denoiser, sigmas=levels, eta=0.7, etab=0.9)
    theirs = model(problem().y, physics(2 * SIGMA))
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(SHAPE, generator=generator)
    xt = MASK * (problem().y + math.sqrt(levels[0] ** 2 - (2 * SIGMA) ** 2) * z) + (1 - MASK) * levels[0] * z
    xt = SCHEDULE.alpha_sigma(TIMES[0])[0] * xt
    for pair in pairwise(TIMES):
        xt = Ddrm(problem(), 0.7, 0.9).step(denoiser(), xt, *pair, generator)
    torch.testing.assert_close(xt, theirs, rtol=0, atol=1e-4)


def test_diffpir_chain_equals_deepinv(equal_noise: Callable[[float], None]) -> None:
    """Their images and their noise of y are on [0, 1] and their L2 has a factor 1/2, so their lambda is twice ours.

    They clip x0 before the proximal step, begin with y and noise, and return xt of the least noise level. These three
    are done here too.
    """
    count, pull, renewed = 8, 1.5, 0.4
    model = deepinv.sampling.DiffPIR(
        lambda x, sigma: to_unit(deepinv_denoiser(to_model(x), 2 * sigma)).clamp(0, 1),
        deepinv.optim.data_fidelity.L2(),
        sigma=SIGMA,
        max_iter=count,
        zeta=renewed,
        lambda_=2 * pull,
    )
    y = to_unit(problem().y) * MASK
    equal_noise(1)
    theirs = model(y, physics(SIGMA))
    times = [999 - int(index) for index in model.seq]
    generator = torch.Generator().manual_seed(3)
    a, s = SCHEDULE.alpha_sigma(times[0])
    z = torch.randn(SHAPE, generator=generator)
    xt = a * (to_model(y) + math.sqrt((s / a) ** 2 - 4 * SIGMA**2) * z)
    for pair in pairwise(times):
        xt = DiffPir(problem(), pull, renewed).step(denoiser(clip=True), xt, *pair, generator)
    torch.testing.assert_close(to_unit(xt), theirs, rtol=0, atol=1e-4)
