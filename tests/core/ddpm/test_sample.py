from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from core.config import DdpmConfig
from core.config.ddpm import Variance
from core.ddpm.sample import AncestralSampling
from core.ddpm.schedule import Schedule
from core.ddpm.tutorial import TutorialNetwork


class Gaussian(nn.Module):
    """The best predictor of eps, in closed form, where the data are N(mean, std^2) in every pixel."""

    def __init__(self, schedule: Schedule, mean: float, std: float) -> None:
        super().__init__()
        self.alpha_bar = schedule.alpha_bar.float()
        self.mean, self.std = mean, std

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        a = self.alpha_bar[t].view(-1, 1, 1, 1)
        return (1 - a).sqrt() * (xt - a.sqrt() * self.mean) / (a * self.std**2 + 1 - a)


@pytest.mark.parametrize(("variance", "theirs"), [("beta", "fixed_large"), ("posterior", "fixed_small")])
def test_steps_are_those_of_diffusers(variance: Variance, theirs: str) -> None:
    torch.manual_seed(0)
    network = TutorialNetwork(timesteps=20)
    ours = AncestralSampling(
        network, Schedule.from_config(DdpmConfig(timesteps=20)), (2, 1, 28, 28), seed=5, variance=variance, batch_size=1
    )
    oracle = DDPMScheduler(20, 1e-4, 0.02, "linear", variance_type=theirs, clip_sample=False)
    generator = torch.Generator().manual_seed(5)
    xt = torch.randn(2, 1, 28, 28, generator=generator)
    with torch.no_grad():
        for _, t in zip(ours, oracle.timesteps, strict=True):
            eps = network(xt, t.expand(2))
            xt = oracle.step(eps, t, xt, generator=generator).prev_sample
            torch.testing.assert_close(ours.xt, xt, rtol=1e-4, atol=1e-4)
    assert ours.nfe == 20


def test_samples_of_a_gaussian_have_its_mean_and_variance() -> None:
    schedule = Schedule.from_config(DdpmConfig())
    mean, std = 0.3, 0.5
    sampling = AncestralSampling(Gaussian(schedule, mean, std), schedule, (40, 1, 28, 28), seed=1)
    steps = [event.step for event in sampling]
    assert steps == list(range(1, 1001))
    assert sampling.nfe == 1000
    n = sampling.xt.numel()
    assert sampling.xt.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(n))
    # 1000 steps of beta_t leave the variance a few parts in 1000 above the data's; the rest is chance.
    assert sampling.xt.std().item() == pytest.approx(std, rel=0.01 + 5 / math.sqrt(2 * n))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 20))
def test_sampling_goes_on_as_if_never_stopped(stop_after: int) -> None:
    schedule = Schedule.from_config(DdpmConfig(timesteps=20))

    def sampling(seed: int) -> AncestralSampling:
        return AncestralSampling(Gaussian(schedule, 0, 1), schedule, (2, 1, 4, 4), seed=seed)

    whole = sampling(3)
    steps = list(whole)
    stopped = sampling(3)
    for _ in zip(range(stop_after), stopped, strict=False):
        pass
    resumed = sampling(4)
    resumed.load_state_dict(stopped.state_dict())
    assert list(resumed) == steps[stop_after:]
    assert torch.equal(resumed.xt, whole.xt)
    assert resumed.nfe == 20


def test_the_network_sees_what_the_view_shows_it() -> None:
    schedule = Schedule.from_config(DdpmConfig(timesteps=5))
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, xt: Tensor, t: Tensor) -> Tensor:
            seen.append(xt)
            return torch.zeros_like(xt)

    list(AncestralSampling(Watching(), schedule, (1, 1, 2, 2), view=lambda xt, t: t.view(-1, 1, 1, 1) + 0 * xt))
    assert [x.unique().tolist() for x in seen] == [[4], [3], [2], [1], [0]]
