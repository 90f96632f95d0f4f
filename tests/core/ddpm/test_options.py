"""The options of training beyond the published one, each tested against its definition."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.ddpm import Objective, Weighting
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.ema import Ema
from dipddpm.core.ddpm.networks.unet import UNet
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.training import DdpmTraining, lr_factor
from dipddpm.core.ddpm.validation import Validator
from dipddpm.core.events import BestModel, EpochFinished, Step
from tests.core.ddpm.ideal import Gaussian

SCHEDULE = Schedule.from_config(DdpmConfig())
OBJECTIVES: list[Objective] = ["eps", "x0", "v"]
IMAGES = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10) % 3


def training(*, classes: int = 0, given: dict[str, Any] | None = None, **options: Any) -> DdpmTraining:
    torch.manual_seed(0)
    network = UNet((1, 8, 8), channels=(8, 8), classes=classes)
    config = DdpmConfig(**{"epochs": 2, "batch_size": 4, **options})
    return DdpmTraining(network, SCHEDULE, IMAGES, config, **(given or {}))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objective_split_recovers_x0_and_eps(objective: Objective) -> None:
    x0, eps = torch.randn(2, 50, 1, 4, 4)
    t = torch.arange(50) * 20
    xt = SCHEDULE.add_noise(x0, eps, t)
    estimates = SCHEDULE.split(objective, xt, SCHEDULE.target(objective, x0, eps, t), t)
    for estimate, truth in zip(estimates, (x0, eps), strict=True):
        torch.testing.assert_close(estimate, truth, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("weighting", ["eps", "min-snr"])
def test_loss_weights_give_same_error_for_every_objective(weighting: Weighting) -> None:
    """The weighted error of an estimate doesn't depend on the objective that expresses it."""
    x0, eps, wrong = torch.randn(3, 40, 1, 4, 4, dtype=torch.float64)
    t = torch.arange(40) * 24 + 10
    xt = SCHEDULE.add_noise(x0, eps, t)
    guess = x0 + 0.1 * wrong
    losses = []
    for objective in OBJECTIVES:
        predicted = SCHEDULE.target(objective, guess, SCHEDULE.predict_eps(xt, guess, t), t)
        error = (predicted - SCHEDULE.target(objective, x0, eps, t)).square().flatten(1).mean(1)
        table = SCHEDULE.loss_weights(objective, weighting)
        losses.append(error if table is None else error * table[t])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-4, atol=0)


def test_min_snr_weights_of_x0_are_capped_at_5() -> None:
    table = SCHEDULE.loss_weights("x0", "min-snr")
    assert table is not None
    assert table.max() == 5
    assert table[-1].item() == pytest.approx(SCHEDULE.alpha_bar[-1].item(), rel=1e-3)


def test_lr_factor_warms_up_and_decays() -> None:
    options = DdpmConfig(warmup=3, decay="cosine")
    factors = [lr_factor(options, step, 13) for step in range(13)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[8] == pytest.approx(0.5)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[3:]))
    assert lr_factor(DdpmConfig(decay="linear"), 5, 10) == 0.5
    assert {lr_factor(DdpmConfig(), step, 9) for step in range(9)} == {1.0}
    reported = [item.lr for item in training(warmup=3, decay="cosine", lr=0.01) if isinstance(item, Step)]
    assert reported == [pytest.approx(0.01 * lr_factor(options, step, 6)) for step in range(6)]


def test_ema_update_follows_warmed_up_decay() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = Ema(network, 0.5)
    average = ema.network.weight
    assert isinstance(average, Tensor)
    expected = 0.0
    for n in range(1, 30):
        nn.init.constant_(network.weight, n)
        ema.update(network)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
        assert average.item() == pytest.approx(expected)
    assert not any(p.requires_grad for p in ema.network.parameters())


def test_training_stores_average_as_best_and_continues_own_weights() -> None:
    run = training(ema=0.9, given={"held_out": IMAGES})
    best = [item for item in run if isinstance(item, BestModel)]
    assert all(item.network is run.averaged for item in best)
    averaged, trained = run.averaged.get_parameter("stem.weight"), run.network.get_parameter("stem.weight")
    assert not torch.equal(averaged, trained)
    without_ema = training()
    list(without_ema)
    assert torch.equal(without_ema.network.get_parameter("stem.weight"), trained)


def test_training_clips_gradient_to_given_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(clip=1e-3, epochs=1)
    norms = []
    step = run.optimizer.step

    def record(*arguments: Any) -> Any:
        gradients = [p.grad for p in run.network.parameters() if p.grad is not None]
        norms.append(nn.utils.get_total_norm(gradients).item())
        return step(*arguments)

    monkeypatch.setattr(run.optimizer, "step", record)
    list(run)
    assert norms == [pytest.approx(1e-3, rel=1e-3)] * 3


def test_stratified_timesteps_fill_every_part_once() -> None:
    run = training(stratified=True)
    for _ in range(20):
        assert (run._draw_times(8) // 125).tolist() == list(range(8))
    drawn = torch.cat([run._draw_times(8) for _ in range(2000)])
    assert torch.bincount(drawn, minlength=1000).min() > 0


def test_training_passes_labels_and_drops_given_share() -> None:
    labelled = {"labels": LABELS, "held_out": IMAGES, "held_out_labels": LABELS}
    run = training(classes=3, label_dropout=0.5, epochs=20, given=labelled)
    passed: list[Tensor] = []
    run.network.register_forward_pre_hook(lambda module, given: passed.append(given[2]) if len(given) > 2 else None)
    list(run)
    labels = torch.cat(passed[:3])  # the first epoch
    assert len(labels) == 10
    assert set(torch.cat(passed).tolist()) == {0, 1, 2, 3}
    # Training drops half of the labels, and validation, which has as many images, none.
    assert (torch.cat(passed) == 3).float().mean().item() == pytest.approx(0.25, abs=0.08)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_validator_bands_are_error_of_eps(objective: Objective) -> None:
    """For Gaussian data the least error of eps is a std^2 / (a std^2 + 1 - a) at each timestep, with a = alpha_bar."""
    mean, std = 0.1, 0.25
    generator = torch.Generator().manual_seed(0)
    images = (mean + std * torch.randn(1000, 1, 16, 16, generator=generator) + 1) * 127.5
    held_out = images.round().clamp(0, 255).to(torch.uint8)
    validator = Validator(SCHEDULE, held_out, seed=1)
    denoiser = Denoiser(Gaussian(SCHEDULE, mean, std, objective), SCHEDULE, objective=objective)
    loss, bands = validator.measure(denoiser)
    a = SCHEDULE.alpha_bar
    expected = a * std**2 / (a * std**2 + 1 - a)
    assert bands == pytest.approx(expected.view(10, 100).mean(1).tolist(), rel=0.03)
    assert loss == pytest.approx(expected.mean().item(), rel=0.02)
    assert validator.measure(denoiser) == (loss, bands)
    # v = (eps - sqrt(1 - a) xt) / sqrt(a).
    v_loss, v_bands = Validator(SCHEDULE, held_out, seed=1, objective="v").measure(denoiser)
    assert v_loss == pytest.approx((expected / a).mean().item(), rel=0.02)
    assert v_bands == bands


def test_validator_gives_no_bands_for_few_images() -> None:
    finished = [item for item in training(given={"held_out": IMAGES[:7]}) if isinstance(item, EpochFinished)]
    assert all(item.bands == [] and item.held_out is not None for item in finished)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_loss_is_weighted_error_of_prediction(objective: Objective) -> None:
    run = training(objective=objective, weighting="min-snr")
    x0, t = run.batch(), torch.tensor([5, 300, 600, 999])
    state = run.generator.get_state()
    loss = run._loss(x0, t, None)
    run.generator.set_state(state)
    eps = torch.randn(x0.shape, generator=run.generator)
    # The untrained network predicts zero.
    targets = SCHEDULE.target(objective, x0, eps, t)
    table = SCHEDULE.loss_weights(objective, "min-snr")
    assert table is not None
    errors = torch.stack([table[s] * F.mse_loss(torch.zeros_like(v), v) for s, v in zip(t, targets, strict=True)])
    torch.testing.assert_close(loss, errors.mean())


def test_bfloat16_training_nearly_matches_float32_losses() -> None:
    losses = []
    for precision in ("float32", "bfloat16"):
        run = training(precision=precision, epochs=15, lr=1e-2)
        losses.append([item.loss for item in run if isinstance(item, EpochFinished)])
        assert all(p.dtype == torch.float32 for p in run.network.parameters())
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert not math.isnan(losses[1][-1])


@pytest.mark.slow
def test_compiled_training_matches_eager_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the real network but run eager kernels, which need no compilation; test_compile.py compiles kernels."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiler(network, dynamic=False, backend="aot_eager"))
    losses = [[item.loss for item in training(compile=c, epochs=1) if isinstance(item, Step)] for c in (False, True)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
