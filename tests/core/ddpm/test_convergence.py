"""Errors of samplers, against the exact solution and the exact distribution for Gaussian data."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Restart, solver
from tests.core.ddpm.ideal import Gaussian

SCHEDULE = Schedule.from_config(DdpmConfig())
MEAN, STD = 0.3, 0.5
COVARIANCE = torch.tensor(
    [[0.25, 0.1, 0.0, 0.05], [0.1, 0.09, 0.0, 0.0], [0.0, 0.0, 0.04, -0.02], [0.05, 0.0, -0.02, 0.16]]
)
"""A covariance of the four pixels of images of 2x2, whose deviations reach from 0.2 to 0.5."""


class Correlated(nn.Module):
    """The ideal denoiser for images of 2x2 that are N(0.3, `COVARIANCE`); predicts x0."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        alpha_bar = SCHEDULE.alpha_bar[t[0]].item()
        total = alpha_bar * COVARIANCE + (1 - alpha_bar) * torch.eye(4)
        gain = math.sqrt(alpha_bar) * COVARIANCE @ torch.linalg.inv(total)
        x0: Tensor = MEAN + (xt.flatten(1) - math.sqrt(alpha_bar) * MEAN) @ gain.T
        return x0.view_as(xt)


def exact(xt: Tensor, t: int, t_next: int) -> Tensor:
    """Solve the probability flow exactly: xt stays at the same quantile of its marginal."""
    (a, s), (a_to, s_to) = SCHEDULE.alpha_sigma(t), SCHEDULE.alpha_sigma(t_next)
    ratio = math.sqrt((a_to**2 * STD**2 + s_to**2) / (a**2 * STD**2 + s**2))
    return a_to * MEAN + ratio * (xt - a * MEAN)


def normal(count: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpm++", 2), ("heun", 2)])
def test_sampler_error_falls_with_its_order(name: SamplerName, order: int) -> None:
    x = normal(4)
    errors = []
    for steps in (25, 100):
        sampling = Sampling(Denoiser(Gaussian(SCHEDULE, MEAN, STD), SCHEDULE), solver(name), x, steps=steps)
        list(sampling)
        errors.append((sampling.xt - exact(x, 999, -1)).abs().mean().item())
    assert 0.6 * 4**order < errors[0] / errors[1] < 2 * 4**order


def test_error_of_way_down_in_restart_falls_with_second_order() -> None:
    denoiser, generator = Denoiser(Gaussian(SCHEDULE, MEAN, STD), SCHEDULE), torch.Generator()
    x = normal(4)
    errors = []
    for steps in (5, 20):
        chosen = Restart(repeats=1, steps=steps, low=8, high=140)
        path = chosen.path(SCHEDULE, 1000, 10)
        top = next(i for i, (t, t_next) in enumerate(itertools.pairwise(path)) if t_next > t) + 1
        down, xt = path[top : top + steps + 1], x
        assert (down[0], down[-1]) == (SCHEDULE.timestep(140 / 255), SCHEDULE.timestep(8 / 255))
        for t, t_next in itertools.pairwise(down):
            xt = chosen.step(denoiser, xt, t, t_next, generator)
        errors.append((xt - exact(x, down[0], down[-1])).abs().mean().item())
    assert 0.6 * 4**2 < errors[0] / errors[1] < 2 * 4**2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ancestral", DdpmConfig(variance="posterior")),
        ("ddim", DdpmConfig(eta=0.5)),
        ("ddim", DdpmConfig(eta=1.0)),
        ("dpm++", DdpmConfig(eta=0.5)),
        ("dpm++", DdpmConfig(eta=1.0)),
        ("restart", DdpmConfig(restarts=8, restart_steps=20, restart_low=8, restart_high=140)),
        ("restart", DdpmConfig(restarts=40, restart_steps=10, restart_low=8, restart_high=38)),
    ],
    ids=str,
)
def test_stochastic_samples_have_exact_mean_and_covariance(name: SamplerName, options: DdpmConfig) -> None:
    count = 20_000
    # Samplers of first order need every timestep; their deviations are then at most 1% too small.
    steps = 200 if name in {"dpm++", "restart"} else 1000
    denoiser = Denoiser(Correlated(), SCHEDULE, objective="x0", batch_size=count)
    sampling = Sampling(denoiser, solver(name, options), (count, 1, 2, 2), steps=steps, seed=4)
    list(sampling)
    samples = sampling.xt.flatten(1)
    deviations = COVARIANCE.diagonal().sqrt()
    assert ((samples.mean(0) - MEAN).abs() < 4.5 * deviations / math.sqrt(count) + 0.001).all()
    scale = deviations[:, None] * deviations
    assert ((samples.T.cov() - COVARIANCE).abs() < (4.5 * math.sqrt(2 / count) + 0.02) * scale).all()


def test_restarts_leave_exact_distribution_unchanged() -> None:
    """Samples of the marginal at the low level have its mean and variance after 200 restarts."""
    chosen = Restart(repeats=200, steps=8, low=8, high=80)
    path = chosen.path(SCHEDULE, 1000, 10)
    low = SCHEDULE.timestep(8 / 255)
    first, last = path.index(low), len(path) - 1 - path[::-1].index(low)
    a, s = SCHEDULE.alpha_sigma(low)
    marginal = math.sqrt(a**2 * STD**2 + s**2)
    denoiser, generator = Denoiser(Gaussian(SCHEDULE, MEAN, STD), SCHEDULE), torch.Generator().manual_seed(1)
    start = xt = a * MEAN + marginal * normal(300)
    for t, t_next in itertools.pairwise(path[first : last + 1]):
        xt = chosen.step(denoiser, xt, t, t_next, generator)
    n = xt.numel()
    assert torch.corrcoef(torch.stack([start.flatten(), xt.flatten()]))[0, 1] < 0.9, "nothing was restarted"
    assert xt.mean().item() == pytest.approx(a * MEAN, abs=4.5 * marginal / math.sqrt(n))
    assert xt.std().item() == pytest.approx(marginal, rel=4.5 / math.sqrt(2 * n) + 0.005)
