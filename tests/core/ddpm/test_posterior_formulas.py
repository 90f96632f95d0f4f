"""The steps of DDRM, PiGDM, MMPS and the robust fit against dense matrices and formulas for single pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import Ddnm, Ddrm, Mmps, PiGdm, Problem, Restoration, Robust, proximal
from dipddpm.core.ddpm.posterior.guided import solve
from dipddpm.core.ddpm.posterior.proximal import weighted_prox
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import Degradation, GaussianNoise, Identity, MaskedOperator, Operator, degrade
from dipddpm.core.images import to_model, to_unit
from tests.core.ddpm.ideal import Gaussian

SCHEDULE = Schedule.from_config(DdpmConfig())
SIDE = 6
SHAPE = (3, 1, SIDE, SIDE)
TASKS = [
    "denoise:sigma=25",
    "inpaint:missing=0.6,sigma=5",
    "inpaint:missing=0.6",
    "superres:factor=4,sigma=5",
    "superres:factor=2",
    "deblur:width=0.7,sigma=5",
    "denoise:noise=poisson,photons=30",
    "masked",
]


def measured(task: str, images: Tensor) -> tuple[Tensor, Degradation]:
    """Measure images as a task says; `masked` is super-resolution without some of the measurements."""
    if task != "masked":
        return degrade(parse_task(task), images, range(len(images)))
    y, degradation = degrade(parse_task("superres:factor=2,sigma=5"), images, range(len(images)))
    mask = (torch.rand(y.shape, generator=torch.Generator().manual_seed(8)) > 0.3).float()
    return y * mask, Degradation(MaskedOperator(degradation.operator, mask), degradation.noise)


def dense(operator: Operator, index: int) -> Tensor:
    """Return the matrix of an operator for one image, in double precision."""
    basis = torch.eye(SIDE**2).view(-1, 1, 1, SIDE, SIDE)
    columns = [operator.A(image.expand(SHAPE).contiguous())[index].flatten() for image in basis]
    return torch.stack(columns, 1).double()


class Correlated(nn.Module):
    """The ideal denoiser for Gaussian images with mean 0 and a covariance matrix; predicts x0."""

    def __init__(self, covariance: Tensor) -> None:
        super().__init__()
        self.covariance = covariance

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        a, s = SCHEDULE.alpha_sigma(int(t[0]))
        system = a**2 * self.covariance + s**2 * torch.eye(len(self.covariance)).double()
        gain = (a * self.covariance @ torch.linalg.inv(system)).float()
        predicted: Tensor = (xt.flatten(1) @ gain.T).view(xt.shape)
        return predicted


def smooth(correlation: float) -> Tensor:
    """Return the covariance matrix of images with variance 1 whose pixels are correlated with their neighbours."""
    index = torch.arange(SIDE).double()
    line = correlation ** (index[:, None] - index).abs()
    return torch.kron(line, line)


@pytest.mark.parametrize("t", [20, 300, 800])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", [PiGdm, Mmps])
def test_corrected_x0_is_mean_given_xt_and_y(method: type[PiGdm], task: str, t: int) -> None:
    """PiGDM is exact for white images with variance 1, MMPS for all Gaussian images."""
    generator = torch.Generator().manual_seed(2)
    covariance = smooth(0.7 if method is Mmps else 0.0)
    x0 = (torch.linalg.cholesky(covariance).float() @ torch.randn(SIDE**2, 3, generator=generator)).T.reshape(SHAPE)
    y, degradation = measured(task, to_unit(x0))
    problem = Problem(y, degradation, SHAPE)
    xt = SCHEDULE.add_noise(x0, torch.randn(SHAPE, generator=generator), t)
    solver = Mmps(problem, iterations=30) if method is Mmps else PiGdm(problem)
    corrected = solver.step(Denoiser(Correlated(covariance), SCHEDULE, objective="x0"), xt, t, -1, generator)
    a, s = SCHEDULE.alpha_sigma(t)
    for index in range(3):
        matrix = dense(problem.operator, index)
        precision = torch.linalg.inv(covariance) + (a / s) ** 2 * torch.eye(SIDE**2)
        sigma = problem.positive_sigma[index].item()
        precision = precision + matrix.T @ matrix / sigma**2
        information = (
            a / s**2 * xt[index].flatten().double() + matrix.T @ problem.y[index].flatten().double() / sigma**2
        )
        expected = torch.linalg.solve(precision, information).view(SHAPE[1:]).float()
        torch.testing.assert_close(corrected[index], expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=25", "deblur:width=0.6,sigma=25"])
def test_mean_of_mmps_samples_is_posterior_mean(task: str) -> None:
    covariance, generator = smooth(0.8), torch.Generator().manual_seed(4)
    x0 = (torch.linalg.cholesky(covariance).float() @ torch.randn(SIDE**2, 3, generator=generator)).T.reshape(SHAPE)
    y, degradation = measured(task, to_unit(x0))
    denoiser = Denoiser(Correlated(covariance), SCHEDULE, objective="x0")
    restoration = Restoration("mmps", denoiser, y, degradation, SHAPE, steps=40, samples=200)
    list(restoration)
    problem = Problem(y, degradation, SHAPE)
    for index in range(3):
        matrix, variance = dense(problem.operator, index), problem.sigma[index].item() ** 2
        inverse = torch.linalg.inv(matrix @ covariance @ matrix.T + variance * torch.eye(SIDE**2))
        expected = (covariance @ matrix.T @ inverse @ problem.y[index].flatten().double()).view(SHAPE[1:]).float()
        error = (to_model(restoration.images[index]) - expected).square().mean().sqrt()
        assert error < 0.1 * (expected - x0[index]).square().mean().sqrt() + 0.03


def test_solve_finds_solution_of_asymmetric_systems() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.eye(9) + 0.3 * torch.randn(2, 9, 9, generator=generator)
    b = torch.randn(2, 1, 3, 3, generator=generator)

    def multiply(x: Tensor) -> Tensor:
        return (matrices @ x.view(2, 9, 1)).view(b.shape)

    expected = torch.linalg.solve(matrices, b.view(2, 9, 1)).view(b.shape)
    torch.testing.assert_close(solve(multiply, b, 9), expected, rtol=1e-3, atol=1e-3)
    residuals = [(b - multiply(solve(multiply, b, count))).norm() for count in range(1, 9)]
    assert residuals == sorted(residuals, reverse=True)


@pytest.mark.parametrize("t_pair", [(700, 600), (40, 20), (20, -1)])
def test_ddrm_step_follows_rule_of_each_pixel(t_pair: tuple[int, int]) -> None:
    """The three cases of the paper, in its own variables: the noise levels of xt / a, and y at a measured pixel."""
    eta, follow = 0.7, 0.9
    images = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    y, degradation = degrade(parse_task("inpaint:missing=0.4,sigma=10"), images, range(3))
    problem = Problem(y, degradation, SHAPE)
    denoiser = Denoiser(Gaussian(SCHEDULE, 0.1, 0.5), SCHEDULE)
    xt = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    found = Ddrm(problem, eta, follow).step(denoiser, xt, *t_pair, torch.Generator().manual_seed(3))
    x0, _ = denoiser(xt, t_pair[0])
    (a, s), (a_to, s_to) = map(SCHEDULE.alpha_sigma, t_pair)
    before, after, sigma_y = s / a, s_to / a_to, 20 / 255
    mask = degradation.operator.measured(y)
    for index in map(tuple, torch.cartesian_prod(torch.arange(3), *map(torch.arange, (SIDE, SIDE))).tolist()):
        at = (index[0], 0, *index[1:])
        estimate, fresh = x0[at].item(), z[at].item()
        if not mask[at]:
            old = (xt[at].item() / a - estimate) / before
            value = estimate + math.sqrt(1 - eta**2) * after * old + eta * after * fresh
        elif after < sigma_y:
            old = (problem.y[at].item() - estimate) / sigma_y
            value = estimate + math.sqrt(1 - eta**2) * after * old + eta * after * fresh
        else:
            deviation = math.sqrt(after**2 - sigma_y**2 * follow**2)
            value = (1 - follow) * estimate + follow * problem.y[at].item() + deviation * fresh
        if mask[at] or t_pair[1] >= 0:
            assert found[at].item() == pytest.approx(a_to * value, abs=1e-4)


def test_ddnm_is_ddrm_without_time_travel() -> None:
    images = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    y, degradation = measured("deblur:width=0.7,sigma=5", images)
    denoiser = Denoiser(Gaussian(SCHEDULE, 0.1, 0.5), SCHEDULE)
    results = []
    for method in (Ddnm, Ddrm):
        solver, generator = method(Problem(y, degradation, SHAPE)), torch.Generator().manual_seed(0)
        results.append(solver.step(denoiser, torch.randn(SHAPE, generator=generator), 300, 200, generator))
    assert torch.equal(*results)


@pytest.mark.parametrize("task", TASKS)
def test_weighted_prox_solves_normal_equations(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if task.startswith("deblur"):
        monkeypatch.setattr(proximal, "CG_STEPS", 60)
    generator = torch.Generator().manual_seed(5)
    y, degradation = measured(task, torch.rand(SHAPE, generator=generator))
    v, weight = torch.rand(SHAPE, generator=generator), 0.01 + torch.rand(y.shape, generator=generator)
    rho = torch.tensor([0.01, 0.1, 1.0]).view(3, 1, 1, 1)
    found = weighted_prox(degradation.operator, v, y, weight, rho)
    for index in range(3):
        matrix, scale = dense(degradation.operator, index), rho[index].item()
        weighted = matrix.T * weight[index].flatten().double()
        right = weighted @ y[index].flatten().double() + scale * v[index].flatten().double()
        expected = torch.linalg.solve(weighted @ matrix + scale * torch.eye(SIDE**2), right)
        torch.testing.assert_close(found[index].flatten().double(), expected, rtol=0, atol=1e-4)


def test_robust_fit_is_proximal_point_of_huber(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without missing values x moves towards y as in DiffPIR, but never by more than delta / rho."""
    monkeypatch.setattr(proximal, "REWEIGHTINGS", 300)
    y = torch.linspace(0, 1, 36).view(1, 1, SIDE, SIDE)
    solver = Robust(Problem(y, Degradation(Identity(), GaussianNoise(0.1)), (1, 1, SIDE, SIDE)), delta=0.05)
    v, deviation = torch.zeros(1, 1, SIDE, SIDE), 0.3
    rho = (0.2 / deviation) ** 2
    r = to_model(y) - v
    expected = torch.where(r.abs() <= 0.05 * (1 + 1 / rho), r / (1 + rho), 0.05 / rho * r.sign())
    torch.testing.assert_close(solver.fit(v, deviation), expected, rtol=0, atol=1e-4)


def test_robust_takes_less_of_impulses_than_diffpir() -> None:
    x = to_unit(0.2 * torch.randn((4, 1, 16, 16), generator=torch.Generator().manual_seed(1)))
    y, degradation = degrade(parse_task("denoise:noise=salt-and-pepper,hit=0.1"), x, range(4))
    errors = []
    for method in ("robust", "diffpir"):
        denoiser = Denoiser(Gaussian(SCHEDULE, 0, 0.2), SCHEDULE)
        restoration = Restoration(method, denoiser, y, degradation, (4, 1, 16, 16), steps=50)
        list(restoration)
        errors.append((restoration.images - x).square()[y != x].mean())
    assert errors[0] < 0.9 * errors[1]
