from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import posterior


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule.from_config(DdpmConfig())


@pytest.fixture(scope="module")
def oracle() -> Any:
    return DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")


def test_schedule_tables_match_diffusers(schedule: Schedule, oracle: Any) -> None:
    assert len(schedule) == 1000
    assert schedule.alpha_bar.dtype == torch.float64
    # The running product of diffusers is in float32, with a relative error of a few 10^-5 at the end.
    torch.testing.assert_close(schedule.alpha_bar.float(), oracle.alphas_cumprod, rtol=1e-4, atol=0)


def test_add_noise_matches_diffusers(schedule: Schedule, oracle: Any) -> None:
    x0, eps = torch.randn(2, 64, 1, 4, 4)
    t = torch.randint(1000, (64,))
    torch.testing.assert_close(schedule.add_noise(x0, eps, t), oracle.add_noise(x0, eps, t))


def test_add_noise_broadcasts_single_timestep(schedule: Schedule) -> None:
    x0, eps = torch.randn(2, 5, 1, 4, 4)
    assert torch.equal(schedule.add_noise(x0, eps, 321), schedule.add_noise(x0, eps, torch.full((5,), 321)))


def test_predict_x0_inverts_add_noise(schedule: Schedule) -> None:
    x0, eps = torch.randn(2, 1000, 1, 2, 2)
    t = torch.arange(1000)
    # At the last timesteps x0 is multiplied by 0.006, which costs two of float32's seven digits.
    torch.testing.assert_close(schedule.predict_x0(schedule.add_noise(x0, eps, t), eps, t), x0, rtol=1e-4, atol=2e-4)


def test_posterior_deviation_matches_diffusers(schedule: Schedule, oracle: Any) -> None:
    deviations = [posterior(schedule.alpha_sigma(t), schedule.alpha_sigma(t - 1))[2] for t in range(1000)]
    theirs = torch.stack([oracle._get_variance(t, variance_type="fixed_small") for t in range(1, 1000)])
    torch.testing.assert_close(torch.tensor(deviations[1:]).square(), theirs, rtol=1e-3, atol=0)
    assert deviations[0] == 0


@pytest.mark.parametrize("t", [1, 10, 500, 999])
def test_posterior_follows_bayes(schedule: Schedule, t: int) -> None:
    """q(x_{t-1} | xt, x0) is the normalised product of the Gaussians q(x_{t-1} | x0) and q(xt | x_{t-1})."""
    beta, before = schedule.beta[t].item(), schedule.alpha_bar[t - 1].item()
    precision = 1 / (1 - before) + (1 - beta) / beta
    x0_weight, xt_weight, deviation = posterior(schedule.alpha_sigma(t), schedule.alpha_sigma(t - 1))
    assert deviation**2 == pytest.approx(1 / precision)
    assert x0_weight == pytest.approx(math.sqrt(before) / (1 - before) / precision)
    assert xt_weight == pytest.approx(math.sqrt(1 - beta) / beta / precision)


@pytest.mark.parametrize(("grey_levels", "t"), [(15, 32), (25, 56), (50, 114), (0, 0), (10**6, 999)])
def test_schedule_timestep_finds_noise_level(schedule: Schedule, grey_levels: float, t: int) -> None:
    assert schedule.timestep(grey_levels / 255) == t


@given(st.integers(0, 999))
def test_schedule_timestep_inverts_sigma(t: int) -> None:
    schedule = Schedule.from_config(DdpmConfig())
    assert schedule.timestep(float(schedule.sigma[t])) == t


def test_schedule_scales_noisy_image_to_distribution_of_xt(schedule: Schedule) -> None:
    """sqrt(alpha_bar) (2y - 1) has the mean and the noise of xt, for y = x + sigma n on [0, 1]."""
    t = 200
    scale = schedule.alpha_bar[t].sqrt()
    noise = scale * 2 * schedule.sigma[t]
    torch.testing.assert_close(noise, (1 - schedule.alpha_bar[t]).sqrt())


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_schedule_timestep_refuses_invalid_sigma(schedule: Schedule, sigma: float) -> None:
    with pytest.raises(ValueError, match="standard deviation"):
        schedule.timestep(sigma)


def test_cosine_schedule_matches_diffusers() -> None:
    ours = Schedule.from_config(DdpmConfig(schedule="cosine"))
    oracle: Any = DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    # diffusers stores beta in float32, and multiplies 1,000 factors of 1 - beta.
    torch.testing.assert_close(ours.alpha_bar.float(), oracle.alphas_cumprod, rtol=1e-3, atol=1e-6)


def test_sigmoid_schedule_falls_symmetrically() -> None:
    alpha_bar = Schedule.from_config(DdpmConfig(schedule="sigmoid")).alpha_bar
    assert (alpha_bar[1:] < alpha_bar[:-1]).all()
    # The last timestep is excluded, since its beta is clipped.
    torch.testing.assert_close(alpha_bar[:-1] + alpha_bar[:-1].flip(0), torch.ones(999, dtype=torch.float64))
    quarter = (1 / (1 + math.exp(-1.5)) - 1 / (1 + math.exp(3))) / (1 / (1 + math.exp(-3)) - 1 / (1 + math.exp(3)))
    assert alpha_bar[249].item() == pytest.approx(quarter)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_zero_terminal_snr_matches_diffusers(name: Literal["linear", "cosine", "sigmoid"]) -> None:
    original = Schedule.from_config(DdpmConfig(schedule=name))
    ours = Schedule.from_config(DdpmConfig(schedule=name, objective="v", zero_terminal_snr=True))
    assert ours.alpha_bar[-1] == 0
    assert ours.alpha_bar[0].item() == pytest.approx(original.alpha_bar[0].item())
    oracle = 1 - rescale_zero_terminal_snr(original.beta)
    torch.testing.assert_close(ours.alpha_bar, torch.cumprod(oracle, 0))


@given(st.integers(0, 999))
def test_split_recovers_x0_and_eps_from_velocity(t: int) -> None:
    schedule = Schedule.from_config(DdpmConfig(schedule="cosine", objective="v", zero_terminal_snr=True))
    x0, eps = torch.randn(2, 2, 1, 3, 3)
    xt = schedule.add_noise(x0, eps, t)
    estimates = schedule.split("v", xt, schedule.target("v", x0, eps, t), t)
    for estimate, truth in zip(estimates, (x0, eps), strict=True):
        torch.testing.assert_close(estimate, truth, rtol=1e-4, atol=1e-5)


def test_velocity_matches_diffusers(schedule: Schedule, oracle: Any) -> None:
    x0, eps = torch.randn(2, 64, 1, 4, 4)
    t = torch.randint(1000, (64,))
    ours = schedule.target("v", x0, eps, t)
    torch.testing.assert_close(ours, oracle.get_velocity(x0, eps, t), rtol=1e-5, atol=1e-5)


def test_alpha_sigma_of_minus_one_is_clean_image(schedule: Schedule) -> None:
    assert schedule.alpha_sigma(-1) == (1.0, 0.0)
    a, s = schedule.alpha_sigma(500)
    assert a**2 + s**2 == pytest.approx(1)
    assert s / a / 2 == pytest.approx(schedule.sigma[500].item())


@pytest.mark.parametrize(
    "beta", [torch.tensor([1.0, 0.1]), torch.tensor([1.5, 0.1]), torch.tensor([0.0]), torch.full((2, 2), 0.1)]
)
def test_schedule_refuses_invalid_beta(beta: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="beta"):
        Schedule(beta)
