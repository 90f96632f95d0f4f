"""MMPS with the ideal denoiser of correlated Gaussian images, for which it is exact up to the length of its steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import Mmps, Problem, Restoration
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import Degradation, degrade
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.coverage import coverage

SCHEDULE = Schedule.from_config(DdpmConfig())
SIDE, COUNT = 8, 50
SHAPE = (COUNT, 1, SIDE, SIDE)
PIXELS = SIDE**2
MEAN = 0.1


def covariance() -> Tensor:
    """Return the covariance of stationary images: a Gaussian correlation of 3 pixels, and a little white noise.

    Its eigenvalues range from 5 to 2e-3, so that MMPS has a linear system that is hard to solve.
    """
    index = torch.arange(SIDE).double()
    line = torch.exp(-(index[:, None] - index).square() / (2 * 3.0**2))
    return 0.16 * torch.kron(line, line) + 2e-3 * torch.eye(PIXELS).double()


def network(xt: Tensor, t: Tensor) -> Tensor:
    """Return E[x0 | xt]."""
    a, s = SCHEDULE.alpha_sigma(int(t[0]))
    gain = a * covariance() @ torch.linalg.inv(a**2 * covariance() + s**2 * torch.eye(PIXELS).double())
    x0: Tensor = MEAN + (xt.flatten(1) - a * MEAN) @ gain.float().T
    return x0.view(xt.shape)


def measured(task: str) -> tuple[Tensor, Tensor, Degradation]:
    root = torch.linalg.cholesky(covariance())
    noise = torch.randn(COUNT, PIXELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth = (MEAN + noise @ root.T).view(SHAPE).float()
    return truth, *degrade(parse_task(task), to_unit(truth), range(COUNT))


def exact(problem: Problem, xt: Tensor | None = None, t: int = 0) -> tuple[Tensor, Tensor]:
    """Return the means and the covariance matrices of the images given y, and given xt too, in the precision form."""
    means, covariances = [], []
    for index in range(problem.shape[0]):
        basis = torch.eye(PIXELS).view(-1, 1, SIDE, SIDE)
        matrix = problem.operator.select([index] * PIXELS).A(basis).flatten(1).T.double()
        sigma = problem.sigma[index].item()
        precision = torch.linalg.inv(covariance()) + matrix.T @ matrix / sigma**2
        right = torch.linalg.solve(covariance(), torch.full((PIXELS,), MEAN).double())
        right = right + matrix.T @ problem.y[index].flatten().double() / sigma**2
        if xt is not None:
            a, s = SCHEDULE.alpha_sigma(t)
            precision = precision + (a / s) ** 2 * torch.eye(PIXELS).double()
            right = right + a / s**2 * xt[index].flatten().double()
        inverse = torch.linalg.inv(precision)
        means.append(inverse @ right)
        covariances.append(inverse)
    return torch.stack(means).view(SHAPE), torch.stack(covariances)


@pytest.mark.parametrize("t", [2, 20, 100, 500])
@pytest.mark.parametrize("task", ["inpaint:missing=0.7,sigma=10", "deblur:width=1.5,sigma=10"])
def test_mmps_is_exact_after_any_number_of_iterations(task: str, t: int) -> None:
    """The system is solved after a few iterations at small t; further ones must not amplify rounding errors."""
    truth, y, degradation = measured(task)
    problem = Problem(y, degradation, SHAPE)
    generator = torch.Generator().manual_seed(2)
    xt = SCHEDULE.add_noise(truth, torch.randn(SHAPE, generator=generator), t)
    solver = Mmps(problem, iterations=60)
    corrected = solver.step(Denoiser(network, SCHEDULE, objective="x0"), xt, t, -1, generator)
    torch.testing.assert_close(corrected.double(), exact(problem, xt, t)[0], rtol=0, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["inpaint:missing=0.7,sigma=10", "deblur:width=1.5,sigma=10"])
def test_mmps_samples_the_posterior_of_gaussian_images(task: str) -> None:
    """The mean of the samples loses under 0.05 dB, and 90% of the exact posterior lies in their 90% intervals."""
    samples, steps = 19, 500
    _, y, degradation = measured(task)
    denoiser = Denoiser(network, SCHEDULE, objective="x0", batch_size=samples * COUNT)
    options: dict[str, float] = {"iterations": 8}
    restoration = Restoration("mmps", denoiser, y, degradation, SHAPE, steps=steps, samples=samples, options=options)
    list(restoration)
    drawn = restoration.xt.view(COUNT, samples, *SHAPE[1:]).transpose(0, 1).double()
    mean, covariances = exact(Problem(y, degradation, SHAPE))
    variance = covariances.diagonal(dim1=1, dim2=2).mean()
    bias = (drawn.mean(0) - mean).square().mean() - drawn.var(0).mean() / samples
    assert abs(10 * math.log10(1 + bias / variance)) < 0.05
    assert drawn.var(0).mean().item() == pytest.approx(variance.item(), rel=0.1)
    noise = torch.randn(100, COUNT, PIXELS, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images = mean + (torch.linalg.cholesky(covariances) @ noise).view(100, *SHAPE)
    covered = torch.stack([coverage(drawn, image, 0.9) for image in images])
    assert covered.mean().item() == pytest.approx(0.9, abs=0.02)
