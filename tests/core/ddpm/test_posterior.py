"""Every method on every task with an ideal denoiser, for which the best restoration is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import METHODS, Ddnm, Dps, Problem, Restoration
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Ancestral
from dipddpm.core.degrade import degrade
from dipddpm.core.errors import UserError
from dipddpm.core.images import to_model, to_unit
from tests.core.ddpm.ideal import Finite, Gaussian

SCHEDULE = Schedule.from_config(DdpmConfig())
TASKS = [
    "denoise:sigma=25",
    "inpaint:missing=0.6,sigma=5",
    "inpaint:box=8,sigma=0",
    "superres:factor=2,sigma=5",
    "deblur:width=1,sigma=5",
    "denoise:noise=poisson,photons=30",
    "denoise:noise=salt-and-pepper,hit=0.1",
]
ITERATED = [name for name in METHODS if name != "posterior-mean"]
IMAGES = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(3))
SHAPE = (4, 1, 16, 16)


@pytest.mark.parametrize("text", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_restoration_finds_measured_image_in_finite_set(method: str, text: str) -> None:
    if method == "posterior-mean" and not text.startswith("denoise"):
        return
    y, degradation = degrade(parse_task(text), IMAGES, range(4))
    denoiser = Denoiser(Finite(SCHEDULE, to_model(IMAGES)), SCHEDULE, objective="v")
    # With a finite set of images DiffPIR needs a strong pull towards y, or it stays at the first image it reaches.
    options = {"pull": 7.0} if method == "diffpir" else {}
    restoration = Restoration(method, denoiser, y, degradation, SHAPE, steps=100, options=options)
    steps = [event.step for event in restoration]
    assert steps == list(range(1, len(restoration) + 1))
    assert restoration.nfe == len(restoration) == (1 if method == "posterior-mean" else 100)
    torch.testing.assert_close(restoration.images, IMAGES, rtol=0, atol=0.02)


@pytest.mark.parametrize("sigma", [10, 25, 50, 100])
def test_posterior_mean_matches_closed_form_for_gaussian(sigma: int) -> None:
    mean, std = 0.2, 0.4  # in model space
    x = to_unit(mean + std * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)))
    y, degradation = degrade(parse_task(f"denoise:sigma={sigma}"), x, range(4))
    restoration = Restoration(
        "posterior-mean", Denoiser(Gaussian(SCHEDULE, mean, std), SCHEDULE), y, degradation, SHAPE
    )
    list(restoration)
    noise = 2 * sigma / 255
    expected = mean + std**2 / (std**2 + noise**2) * (to_model(y) - mean)
    # The nearest timestep has a slightly different noise level.
    torch.testing.assert_close(restoration.images, to_unit(expected), rtol=0, atol=0.01)


def test_posterior_mean_gives_each_image_its_own_timestep() -> None:
    x = torch.cat([torch.full((1, 1, 8, 8), 0.05), torch.full((1, 1, 8, 8), 0.9)])
    y, degradation = degrade(parse_task("denoise:noise=poisson,photons=20"), x, range(2))
    timesteps: list[list[int]] = []

    def network(xt: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        timesteps.append(t.tolist())
        return torch.zeros_like(xt)

    list(Restoration("posterior-mean", Denoiser(network, SCHEDULE), y, degradation, (2, 1, 8, 8)))
    assert timesteps == [[SCHEDULE.timestep(math.sqrt(y[i].mean().item() / 20)) for i in range(2)]]


@pytest.mark.parametrize("text", ["inpaint:missing=0.6", "superres:factor=2", "superres:factor=4", "deblur:width=0.6"])
def test_ddnm_is_consistent_with_measurement_and_prior(text: str) -> None:
    mean, std, shape = 0.1, 0.5, (50, 1, 9, 8)
    x = to_unit(mean + std * torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    y, degradation = degrade(parse_task(text), x, range(50))
    denoiser = Denoiser(Gaussian(SCHEDULE, mean, std), SCHEDULE)
    restoration = Restoration("ddnm", denoiser, y, degradation, shape, steps=100)
    list(restoration)
    operator = degradation.operator
    torch.testing.assert_close(operator.A(restoration.images), y, rtol=0, atol=1e-4)
    unmeasured = restoration.images - operator.pinv(operator.A(restoration.images))
    truth = x - operator.pinv(operator.A(x))
    if truth.std() > 0.01:  # a narrow blur lets every frequency pass
        assert unmeasured.mean().item() == pytest.approx(truth.mean().item(), abs=0.02)
        assert 0.5 * truth.std() < unmeasured.std() < truth.std()


def test_ddnm_step_gives_noise_level_of_schedule() -> None:
    """Every pixel of xt has noise of s when x0 is known exactly, independently of the noise of y."""
    x = torch.full((4000, 1, 4, 4), 0.5)
    y, degradation = degrade(parse_task("inpaint:box=2,sigma=40"), x, range(4000))
    exact = Finite(SCHEDULE, to_model(x[:1]))
    solver = Ddnm(Problem(y, degradation, tuple(x.shape)))
    generator = torch.Generator().manual_seed(0)
    for t, to in ((600, 500), (60, 40)):
        xt = SCHEDULE.add_noise(to_model(x), torch.randn(x.shape, generator=generator), t)
        x_to = solver.step(Denoiser(exact, SCHEDULE, objective="v"), xt, t, to, generator)
        _, s = SCHEDULE.alpha_sigma(to)
        torch.testing.assert_close(x_to.std(0), torch.full((1, 4, 4), s), rtol=0.05, atol=0)


def test_ddnm_does_not_accumulate_measurement_noise() -> None:
    """The noise of y is the same in every step, yet for Gaussian data the mean of many chains is the posterior mean."""
    mean, std, shape, sigma = 0.1, 0.5, (4, 1, 8, 8), 40
    x = to_unit(mean + std * torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    y, degradation = degrade(parse_task(f"denoise:sigma={sigma}"), x, range(4))
    denoiser = Denoiser(Gaussian(SCHEDULE, mean, std), SCHEDULE)
    restoration = Restoration("ddnm", denoiser, y, degradation, shape, steps=100, samples=64)
    list(restoration)
    best = to_unit(mean + std**2 / (std**2 + (2 * sigma / 255) ** 2) * (to_model(y) - mean))
    assert (restoration.images - best).square().mean() < 0.1 * (best - x).square().mean()


def test_dps_step_follows_residual_gradient_of_each_image() -> None:
    """For Gaussian data x0 is linear in xt, so the gradient of the norm has a closed form."""
    mean, std, t, to = 0.2, 0.5, 400, 390
    y, degradation = degrade(parse_task("inpaint:missing=0.5"), IMAGES, range(4))
    problem = Problem(y, degradation, SHAPE)
    denoiser = Denoiser(Gaussian(SCHEDULE, mean, std), SCHEDULE)
    xt = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    x0, _ = denoiser(xt, t)
    a, s = SCHEDULE.alpha_sigma(t)
    difference = problem.operator.A(x0) - problem.y
    slope = a * std**2 / (a**2 * std**2 + s**2)
    gradient = slope * problem.operator.adjoint(difference) / difference.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    ancestral = Ancestral("posterior").draw(denoiser, x0, xt, (t, to), torch.Generator().manual_seed(7))
    ours = Dps(problem, 0.3).step(denoiser, xt, t, to, torch.Generator().manual_seed(7))
    torch.testing.assert_close(ours, ancestral - 0.3 * gradient, rtol=1e-4, atol=1e-5)


def test_restoration_of_many_samples_has_posterior_mean() -> None:
    mean, std, shape, many = 0.1, 0.5, (3, 1, 8, 8), 64
    x = to_unit(mean + std * torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    y, degradation = degrade(parse_task("inpaint:missing=0.5"), x, range(3))
    network = Gaussian(SCHEDULE, mean, std)
    restoration = Restoration("ddnm", Denoiser(network, SCHEDULE), y, degradation, shape, steps=20, samples=many)
    list(restoration)
    assert restoration.images.shape == shape
    assert restoration.nfe == 20 * many
    missing = 1 - degradation.operator.measured(y)
    off = (restoration.images - to_unit(torch.tensor(mean))) * missing
    assert off.abs().max() < 5 * std / 2 / math.sqrt(many)


@pytest.mark.parametrize("method", ITERATED)
def test_restoration_resumes_exactly(method: str) -> None:
    y, degradation = degrade(parse_task("deblur:width=1,sigma=5"), IMAGES, range(4))

    def restoration(seed: int) -> Restoration:
        denoiser = Denoiser(Gaussian(SCHEDULE, 0, 1), SCHEDULE)
        return Restoration(method, denoiser, y, degradation, SHAPE, steps=9, samples=2, seed=seed)

    whole = restoration(1)
    events = list(whole)
    stopped = restoration(1)
    for _ in zip(range(4), stopped, strict=False):
        pass
    resumed = restoration(2)
    resumed.load_state_dict(stopped.state_dict())
    assert list(resumed) == events[4:]
    assert torch.equal(resumed.images, whole.images)
    assert resumed.nfe == whole.nfe == 18


def test_problem_noise_level_is_independent_of_other_images() -> None:
    """With Poisson noise each image has its own noise level."""
    y, degradation = degrade(parse_task("deblur:noise=poisson,photons=20"), IMAGES, range(4))
    whole = Problem(y, degradation, SHAPE)
    alone = Problem(y[2:3], degradation.select([2]), (1, *SHAPE[1:]))
    torch.testing.assert_close(whole.sigma[2:3], alone.sigma)
    assert len(set(whole.sigma.flatten().tolist())) == 4


def test_posterior_mean_refuses_tasks_other_than_denoising() -> None:
    y, degradation = degrade(parse_task("superres:factor=2"), IMAGES, range(4))
    with pytest.raises(UserError, match="only denoises"):
        Restoration("posterior-mean", Denoiser(Gaussian(SCHEDULE, 0, 1), SCHEDULE), y, degradation, SHAPE)


class Eps(Finite):
    """The ideal denoiser of `Finite`, which predicts eps."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        return self.schedule.split("v", xt, super().forward(xt, t), t)[1]


@pytest.mark.parametrize("options", [{"timesteps": 10_000}, {"beta_end": 0.5}, {"beta_start": 1e-300}], ids=str)
@pytest.mark.parametrize("method", ITERATED)
def test_restoration_works_with_extreme_schedules(method: str, options: dict[str, Any]) -> None:
    """Where sqrt(alpha_bar) falls to 1e-22 or below, each method still finds the measured image among 20 steps."""
    schedule = Schedule.from_config(DdpmConfig(**options))
    y, degradation = degrade(parse_task("inpaint:missing=0.5,sigma=5"), IMAGES, range(4))
    denoiser = Denoiser(Eps(schedule, to_model(IMAGES)), schedule)
    restoration = Restoration(method, denoiser, y, degradation, SHAPE, steps=20)
    list(restoration)
    assert (restoration.images - IMAGES).abs().max() < 0.1
