"""Restart's way through the timesteps, its fresh noise and its evaluations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Heun, Restart, noise
from tests.core.ddpm.ideal import Gaussian

SCHEDULE = Schedule.from_config(DdpmConfig())
LOW, HIGH = SCHEDULE.timestep(8 / 255), SCHEDULE.timestep(38 / 255)


def test_restart_goes_through_interval_repeatedly() -> None:
    path = Restart(repeats=2, steps=3, low=8, high=38).path(SCHEDULE, 1000, 5)
    main = Heun().path(SCHEDULE, 1000, 5)
    assert (LOW, HIGH) == (15, 87)
    # Of Heun's timesteps 999, 715, 464, 252, 88 the last one is the nearest to 15. The 72 timesteps of the interval are
    # divided at (2/3)^1.5 and (1/3)^1.5.
    assert main == [999, 715, 464, 252, 88, -1]
    assert path == [*main[:4], 15, 87, 54, 29, 15, 87, 54, 29, 15, -1]


@given(
    timesteps=st.integers(1, 1000),
    steps=st.integers(1, 1000),
    restart=st.tuples(st.integers(0, 4), st.integers(1, 300), st.floats(0.01, 5000), st.floats(0.01, 5000)),
    schedule=st.sampled_from(["linear", "cosine", "sigmoid"]),
)
@settings(max_examples=60, deadline=None)
def test_restart_goes_down_but_for_its_restarts(
    timesteps: int, steps: int, restart: tuple[int, int, float, float], schedule: str
) -> None:
    steps = min(steps, timesteps)
    repeats, inner, *levels = restart
    low, high = sorted(levels)
    table = Schedule.from_config(DdpmConfig(schedule=schedule))  # type: ignore[arg-type]
    path = Restart(repeats, inner, low, high).path(table, timesteps, steps)
    assert (path[0], path[-1]) == (timesteps - 1, -1)
    ups = [(t, t_next) for t, t_next in itertools.pairwise(path) if t_next > t]
    bottom, top = table.timestep(low / 255), min(table.timestep(high / 255), timesteps - 1)
    assert ups == ([(bottom, top)] * repeats if steps > 1 and bottom < top else [])
    assert all(t != t_next for t, t_next in itertools.pairwise(path))
    downs = len(path) - 1 - len(ups)
    assert downs == steps + len(ups) * min(inner, max(top - bottom, 0))


def test_restart_adds_noise_of_the_paper() -> None:
    """In xt / a the fresh noise has variance high^2 - low^2 (Xu et al. 2023, algorithm 1, line 5)."""
    xt = torch.randn(3, 1, 4, 4)
    (a, s), (a_to, s_to) = SCHEDULE.alpha_sigma(LOW), SCHEDULE.alpha_sigma(HIGH)
    denoiser = Denoiser(Gaussian(SCHEDULE, 0.3, 0.5), SCHEDULE)
    up = Restart(1, 2, 8, 38).step(denoiser, xt, LOW, HIGH, torch.Generator().manual_seed(2))
    fresh = math.sqrt((s_to / a_to) ** 2 - (s / a) ** 2) * noise(xt, torch.Generator().manual_seed(2))
    torch.testing.assert_close(up / a_to, xt / a + fresh)
    assert denoiser.nfe == 0


def test_restart_without_restarts_is_heun() -> None:
    def sample(chosen: Heun, steps: int) -> Tensor:
        sampling = Sampling(Denoiser(Gaussian(SCHEDULE, 0.3, 0.5), SCHEDULE), chosen, (2, 1, 4, 4), steps=steps)
        list(sampling)
        return sampling.xt

    assert torch.equal(sample(Restart(10, 2, 8, 38), steps=1), sample(Heun(), steps=1))
    # 1000 steps already visit the low level.
    assert torch.equal(sample(Restart(0, 2, 8, 38), steps=1000), sample(Heun(), steps=1000))


def test_restart_begins_from_noisy_images_within_interval() -> None:
    start = torch.randn(2, 1, 4, 4)
    chosen = Restart(repeats=3, steps=2, low=8, high=140)
    sampling = Sampling(Denoiser(Gaussian(SCHEDULE, 0, 1), SCHEDULE), chosen, start, begin=60, steps=4)
    list(sampling)
    assert max(sampling.path) == 60
    assert sampling.path.count(60) == 4
    below = Sampling(Denoiser(Gaussian(SCHEDULE, 0, 1), SCHEDULE), chosen, start, begin=10, steps=4)
    assert below.path == Heun().path(SCHEDULE, 11, 4)


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 1), (2.0, 2)])
def test_restart_counts_evaluations_with_labels(guidance: float, calls: int) -> None:
    labels: list[Tensor | None] = []

    def network(xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        labels.append(label)
        return torch.zeros_like(xt)

    given_label = torch.tensor([3, 1])
    denoiser = Denoiser(network, SCHEDULE, label=given_label, guidance=guidance)
    sampling = Sampling(denoiser, Restart(repeats=3, steps=2, low=8, high=38), (2, 1, 4, 4), steps=5)
    list(sampling)
    assert sampling.nfe == len(labels) == calls * (2 * 5 - 1 + 3 * 2 * 2)
    assert sum(label is not None and torch.equal(label, given_label) for label in labels) == len(labels) / calls


def test_config_refuses_restart_interval_without_length() -> None:
    with pytest.raises(ValueError, match="restart_low must be below restart_high"):
        DdpmConfig(restart_low=38, restart_high=38)
