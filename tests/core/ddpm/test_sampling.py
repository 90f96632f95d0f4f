"""Every sampler against diffusers, step by step, and with ideal denoisers in closed form."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.ddpm import Objective, SamplerName, Variance
from dipddpm.core.ddpm.denoiser import Denoiser, Network
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.solvers import Ddim, DpmSolver, Heun, solver
from dipddpm.core.ddpm.spacing import spacing
from dipddpm.core.errors import UserError
from tests.core.ddpm.ideal import Finite, Gaussian

SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
SCHEDULE = Schedule.from_config(DdpmConfig())
ZERO_TERMINAL = Schedule.from_config(DdpmConfig(schedule="cosine", zero_terminal_snr=True, objective="v"))


def compare(ours: Sampling, oracle: Any, steps: int, seed: int) -> None:
    """Compare xt after every step, with the same network and the same noise."""
    assert isinstance(ours.denoiser.network, TutorialNetwork)
    oracle.set_timesteps(steps)
    generator = torch.Generator().manual_seed(seed)
    xt = torch.randn(ours.xt.shape, generator=generator)
    with torch.no_grad():
        for _, t in zip(ours, oracle.timesteps, strict=True):
            eps = ours.denoiser.network(xt, t.expand(len(xt)))
            options = {"eta": ours.solver.eta} if isinstance(ours.solver, Ddim) else {}
            xt = oracle.step(eps, t, xt, generator=generator, **options).prev_sample
            torch.testing.assert_close(ours.xt, xt, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def network() -> TutorialNetwork:
    torch.manual_seed(0)
    return TutorialNetwork(timesteps=40)


SHORT = Schedule.from_config(DdpmConfig(timesteps=40))


# `fixed_large` is compared at all steps only: with fewer, diffusers also adds noise after the last step.
@pytest.mark.parametrize(
    ("variance", "theirs", "steps"),
    [("beta", "fixed_large", 40), ("posterior", "fixed_small", 40), ("posterior", "fixed_small", 10)],
)
def test_ancestral_steps_match_diffusers(network: TutorialNetwork, variance: Variance, theirs: str, steps: int) -> None:
    ours = Sampling(
        Denoiser(network, SHORT, batch_size=2),
        solver("ancestral", DdpmConfig(variance=variance)),
        (3, 1, 28, 28),
        steps=steps,
        seed=5,
    )
    oracle = DDPMScheduler(
        40, 1e-4, 0.02, "linear", variance_type=theirs, clip_sample=False, timestep_spacing="trailing"
    )
    compare(ours, oracle, steps, 5)
    assert ours.nfe == steps


@pytest.mark.parametrize("steps", [40, 8, 1])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_steps_match_diffusers(
    network: TutorialNetwork, eta: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ddim, "power", 1.0)
    ours = Sampling(Denoiser(network, SHORT), Ddim(eta), (2, 1, 28, 28), steps=steps, seed=6)
    oracle = DDIMScheduler(40, 1e-4, 0.02, "linear", clip_sample=False, timestep_spacing="trailing")
    compare(ours, oracle, steps, 6)


@pytest.mark.parametrize("steps", [20, 5])
@pytest.mark.parametrize(("eta", "algorithm"), [(0.0, "dpmsolver++"), (1.0, "sde-dpmsolver++")])
def test_dpm_solver_steps_match_diffusers(
    network: TutorialNetwork, eta: float, algorithm: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DpmSolver, "power", 1.0)
    ours = Sampling(Denoiser(network, SHORT), DpmSolver(eta), (2, 1, 28, 28), steps=steps, seed=7)
    oracle = DPMSolverMultistepScheduler(
        40,
        1e-4,
        0.02,
        "linear",
        timestep_spacing="trailing",
        algorithm_type=algorithm,
        final_sigmas_type="zero",
        lower_order_final=False,
    )
    compare(ours, oracle, steps, 7)
    assert ours.nfe == steps


def test_heun_step_follows_mean_of_both_directions() -> None:
    """One step in the coordinates of Karras et al. (algorithm 1, lines 4 to 8): x / a over sigma = s / a."""
    denoiser = Denoiser(Gaussian(SCHEDULE, 0.3, 0.5), SCHEDULE)
    (a, s), (a_to, s_to) = SCHEDULE.alpha_sigma(700), SCHEDULE.alpha_sigma(500)
    xt = torch.randn(2, 1, 4, 4)
    x, sigma, sigma_to = xt / a, s / a, s_to / a_to
    d = denoiser(xt, 700)[1]
    euler = x + (sigma_to - sigma) * d
    d_to = denoiser(euler * a_to, 500)[1]
    expected = (x + (sigma_to - sigma) * (d + d_to) / 2) * a_to
    torch.testing.assert_close(Heun().step(denoiser, xt, 700, 500, torch.Generator()), expected)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("objective", ["eps", "x0", "v"])
def test_samplers_preserve_mean_and_variance_of_gaussian(name: SamplerName, objective: Objective) -> None:
    mean, std, steps = 0.3, 0.5, 200
    network = Gaussian(SCHEDULE, mean, std, objective)
    sampling = Sampling(
        Denoiser(network, SCHEDULE, objective=objective),
        solver(name, DdpmConfig(variance="posterior", restarts=3, restart_steps=5)),
        (40, 1, 28, 28),
        steps=steps,
    )
    restarts, evaluations = {"heun": (0, 2 * steps - 1), "restart": (3 * 6, 2 * steps - 1 + 3 * 10)}.get(
        name, (0, steps)
    )
    assert [event.step for event in sampling] == list(range(1, steps + restarts + 1))
    assert sampling.nfe == network.calls == evaluations
    n = sampling.xt.numel()
    assert sampling.xt.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(n) + 0.002)
    # After 200 first-order steps, random or not, the standard deviation is about 3% too small.
    tolerance = 0.005 if name in {"dpm++", "heun", "restart"} else 0.04
    assert sampling.xt.std().item() == pytest.approx(std, rel=tolerance + 5 / math.sqrt(2 * n))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_TERMINAL], ids=["linear", "zero-terminal"])
def test_samplers_give_images_of_finite_set(name: SamplerName, schedule: Schedule) -> None:
    images = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    denoiser = Denoiser(Finite(schedule, images), schedule, objective="v")
    sampling = Sampling(denoiser, solver(name), (60, 1, 6, 6), steps=50, seed=2)
    list(sampling)
    nearest = (sampling.xt[:, None] - images).abs().flatten(2).amax(2).min(1)
    assert nearest.values.max() < 0.02
    assert set(nearest.indices.tolist()) == set(range(5))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SAMPLERS), st.integers(0, 12), st.integers(1, 12))
def test_sampling_resumes_exactly(name: SamplerName, stop_after: int, steps: int) -> None:
    def sampling(seed: int) -> Sampling:
        denoiser = Denoiser(Gaussian(SHORT, 0.2, 1), SHORT)
        chosen = solver(name, DdpmConfig(eta=0.5, restarts=2))
        return Sampling(denoiser, chosen, (2, 1, 4, 4), seed=seed, steps=steps, trajectory_every=2)

    whole = sampling(3)
    events = list(whole)
    stopped = sampling(3)
    for _ in zip(range(stop_after), stopped, strict=False):
        pass
    resumed = sampling(4)
    resumed.load_state_dict(stopped.state_dict())
    assert list(resumed) == events[stop_after:]
    assert torch.equal(resumed.xt, whole.xt)
    assert resumed.nfe == whole.nfe
    assert len(whole.trajectory) == len(whole) // 2
    assert all(map(torch.equal, resumed.trajectory, whole.trajectory))


def test_sampling_can_begin_from_noisy_images() -> None:
    x0 = torch.full((3, 1, 4, 4), 0.5)
    t = SCHEDULE.timestep(25 / 255)
    start = SCHEDULE.add_noise(x0, torch.randn(x0.shape), t)
    sampling = Sampling(Denoiser(Finite(SCHEDULE, x0[:1]), SCHEDULE, objective="v"), Ddim(), start, begin=t, steps=4)
    list(sampling)
    assert sampling.path[0] == t
    torch.testing.assert_close(sampling.xt, x0)


@given(st.integers(1, 1000), st.integers(1, 1000), st.sampled_from([1.0, 1.5, 3.0]))
def test_spacing_gives_distinct_falling_timesteps(timesteps: int, steps: int, power: float) -> None:
    if steps > timesteps:
        with pytest.raises(UserError, match=f"can take 1 to {timesteps} steps"):
            spacing(timesteps, steps, power)
        return
    times = spacing(timesteps, steps, power)
    assert len(times) == steps
    assert times[0] == timesteps - 1
    assert times[-1] >= 0
    assert all(earlier > later for earlier, later in itertools.pairwise(times))


def test_spacing_of_all_steps_takes_every_timestep() -> None:
    assert spacing(1000, 1000, 1.5) == spacing(1000, 1000) == list(range(999, -1, -1))


def test_denoiser_guidance_extrapolates_from_no_class() -> None:
    def network(xt: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return torch.ones_like(xt) * (1.0 if label is None else 3.0)

    xt, label = torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])
    for guidance, expected, calls in ((1.0, 3.0, 1), (0.0, 1.0, 1), (2.0, 5.0, 2)):
        denoiser = Denoiser(network, SCHEDULE, label=label, guidance=guidance)
        assert denoiser(xt, 10)[1].unique().item() == pytest.approx(expected)
        assert denoiser.nfe == calls


def test_denoiser_clip_limits_x0_and_makes_eps_consistent() -> None:
    xt = 3 * torch.randn(2, 1, 4, 4)
    x0, eps = Denoiser(lambda xt, t: torch.zeros_like(xt), SCHEDULE, clip=True)(xt, 300)
    assert x0.abs().max() <= 1
    torch.testing.assert_close(SCHEDULE.add_noise(x0, eps, 300), xt)


def test_denoiser_input_transform_sets_network_input() -> None:
    inputs: list[Tensor] = []

    def network(xt: Tensor, t: Tensor) -> Tensor:
        inputs.append(xt)
        return torch.zeros_like(xt)

    denoiser = Denoiser(network, SHORT, input_transform=lambda xt, t: t.view(-1, 1, 1, 1) + 0 * xt)
    list(Sampling(denoiser, solver("ancestral"), (1, 1, 2, 2), steps=4))
    assert [x.unique().tolist() for x in inputs] == [[39], [29], [19], [9]]


EXTREME: list[dict[str, Any]] = [
    {"timesteps": 10_000},
    {"beta_end": 0.2},
    {"beta_end": 0.5},
    {"timesteps": 5000, "objective": "v"},
    {"timesteps": 10_000, "beta_end": 0.5, "objective": "v", "zero_terminal_snr": True},
    {"timesteps": 10_000, "beta_end": 0.999, "objective": "x0"},
    {"timesteps": 10_000, "schedule": "cosine"},
    {"timesteps": 10_000, "schedule": "sigmoid"},
    {"beta_start": 1e-300},
    {"beta_start": 1e-20, "beta_end": 0.5, "objective": "x0"},
]
"""Schedules within the bounds of the config whose alpha_bar or whose first noise is too small for float32."""


@pytest.mark.parametrize("options", EXTREME, ids=str)
@pytest.mark.parametrize("name", [*SAMPLERS, "ddim, eta 1", "dpm++, eta 1"])
def test_extreme_schedules_sample_gaussian(options: dict[str, Any], name: str) -> None:
    """The samples of N(0.3, 0.2^2) are as good as those of the default schedule, with a float32 or bfloat16 network."""
    config = DdpmConfig(**options)
    schedule = Schedule.from_config(config)
    ideal = Gaussian(schedule, 0.3, 0.2, config.objective)

    def rounded(xt: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = ideal(xt, t)
        return prediction.bfloat16()

    networks: tuple[Network, ...] = (ideal, rounded)
    for clip, network in itertools.product((False, True), networks):
        # bfloat16 rounds eps to 3 digits, so that x0 at high noise is known only with clipping.
        if network is rounded and config.objective == "eps" and not clip:
            continue
        denoiser = Denoiser(network, schedule, objective=config.objective, clip=clip)
        sampler, *eta = name.split(", eta ")
        chosen = solver(sampler, DdpmConfig(eta=float(*eta)))  # type: ignore[arg-type]
        sampling = Sampling(denoiser, chosen, (64, 1, 8, 8), steps=50, seed=1)
        for _ in sampling:
            pass
        assert sampling.xt.isfinite().all()
        if (
            name in {"heun", "restart"} and config.schedule != "linear"
        ):  # whose first steps span a factor of 1,000 in s / a
            continue
        assert sampling.xt.mean().item() == pytest.approx(0.3, abs=0.05)
        assert sampling.xt.std().item() == pytest.approx(0.2, abs=0.06)


@given(
    timesteps=st.integers(2, 10_000),
    ends=st.tuples(st.floats(-20, -0.01), st.floats(-2, -0.001)),
    schedule=st.sampled_from(["linear", "cosine", "sigmoid"]),
    objective=st.sampled_from(["eps", "x0", "v"]),
    sampler=st.tuples(st.sampled_from(SAMPLERS), st.integers(1, 30), st.booleans()),
)
@settings(max_examples=60, deadline=None)
def test_any_schedule_gives_finite_samples(
    timesteps: int,
    ends: tuple[float, float],
    schedule: Any,
    objective: Objective,
    sampler: tuple[SamplerName, int, bool],
) -> None:
    """With any options within bounds, no value of the samples leaves the range that the steps' own errors explain."""
    low, high = sorted(ends)
    name, steps, clip = sampler
    config = DdpmConfig(
        timesteps=timesteps, beta_start=10**low, beta_end=10**high, schedule=schedule, objective=objective
    )
    table = Schedule.from_config(config)
    denoiser = Denoiser(Gaussian(table, 0.3, 0.2, objective), table, objective=objective, clip=clip)
    sampling = Sampling(denoiser, solver(name), (4, 1, 4, 4), steps=min(steps, timesteps))
    for _ in sampling:
        pass
    assert sampling.xt.isfinite().all()
    if name not in {"heun", "restart"}:  # whose error in a few long steps is large
        assert sampling.xt.abs().max() < 10


@pytest.mark.parametrize("name", SAMPLERS)
def test_usual_schedules_use_every_timestep(name: SamplerName) -> None:
    usual: list[dict[str, Any]] = [
        {},
        {"schedule": "cosine"},
        {"schedule": "sigmoid"},
        {"schedule": "cosine", "timesteps": 4000},
    ]
    for options in usual:
        schedule = Schedule.from_config(DdpmConfig(**options))
        sampling = Sampling(Denoiser(Gaussian(schedule, 0, 1), schedule), solver(name), (1, 1, 1, 1))
        assert set(sampling.path) == set(range(-1, len(schedule)))


def test_pure_noise_is_skipped() -> None:
    """Sampling begins where sqrt(alpha_bar), computed here in Python's own floats, has just risen above 1e-5."""
    schedule = Schedule.from_config(DdpmConfig(timesteps=10_000))
    log = list(itertools.accumulate(math.log1p(-b) / 2 for b in schedule.beta.tolist()))
    last = max(t for t, value in enumerate(log) if value >= math.log(1e-5))
    sampling = Sampling(Denoiser(Gaussian(schedule, 0, 1), schedule), Ddim(), (1, 1, 1, 1))
    assert sampling.path == list(range(last, -2, -1))
    with pytest.raises(UserError, match="10000 timesteps"):
        Sampling(Denoiser(Gaussian(schedule, 0, 1), schedule), Ddim(), (1, 1, 1, 1), steps=10_001)


def test_estimate_in_pure_noise_is_clipped() -> None:
    """Wherever sqrt(alpha_bar) is 1e-22, x0 is in [-1, 1], for one timestep and for one of each image."""
    schedule = Schedule.from_config(DdpmConfig(timesteps=10_000))
    xt = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    x0, eps = schedule.split("eps", xt, 1.1 * xt, 9999)
    assert x0.abs().max() <= 1
    assert torch.equal(eps, 1.1 * xt)
    both, _ = schedule.split("eps", xt, 1.1 * xt, torch.tensor([9999, 10]))
    assert torch.equal(both[0], x0[0])
    torch.testing.assert_close(both[1:], schedule.predict_x0(xt[1:], 1.1 * xt[1:], 10))
