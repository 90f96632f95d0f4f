from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.study.trial import Examples, TrainingTrial, trial_network

SIDE = 8


def draw(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def examples(inputs: Tensor, targets: Tensor) -> Examples:
    return Examples(torch.cat([inputs, inputs], 1), torch.zeros(len(inputs), dtype=torch.long), targets)


def trained(fit: Examples, test: Examples, epochs: int = 3) -> TrainingTrial:
    trial = TrainingTrial(trial_network((SIDE, SIDE), 10, 0, "cpu"), fit, test, epochs=epochs, seed=0)
    for _ in trial:
        pass
    return trial


def test_training_trial_reaches_noise_variance_without_information() -> None:
    eps, test = draw(160, 1), draw(160, 2)
    trial = trained(examples(draw(160, 3), eps), examples(draw(160, 4), test))
    variance = float(test.square().mean())
    assert variance <= trial.curve[-1] + 0.005
    assert trial.curve[-1] == pytest.approx(variance, abs=0.03)


def test_training_trial_learns_noise_given_as_input() -> None:
    eps, test = draw(160, 1), draw(160, 2)
    assert trained(examples(eps, eps), examples(test, test), epochs=6).curve[-1] < 0.2


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_training_trial_resumes_exactly_after_any_epoch(epochs: int, tmp_path: Path) -> None:
    eps, test = draw(40, 1), draw(40, 2)
    whole = trained(examples(eps, eps), examples(test, test))
    stopped = TrainingTrial(
        trial_network((SIDE, SIDE), 10, 0, "cpu"), examples(eps, eps), examples(test, test), epochs=3, seed=0
    )
    for _ in zip(range(epochs), stopped, strict=False):
        pass
    checkpoint.save(tmp_path / "state", stopped.state_dict())
    resumed = TrainingTrial(
        trial_network((SIDE, SIDE), 10, 1, "cpu"), examples(eps, eps), examples(test, test), epochs=3, seed=1
    )
    resumed.load_state_dict(checkpoint.load_state(tmp_path / "state"))
    assert len(list(resumed)) == 3 - epochs
    assert resumed.result([0.0]) == whole.result([0.0])
    assert torch.equal(resumed.errors(), whole.errors())


def test_training_trial_stays_above_loss_of_posterior_mean() -> None:
    """Compare with the exact posterior mean of eps, which is known because x0 is one of two images."""
    generator = torch.Generator().manual_seed(0)
    pair = 0.25 * torch.randn(2, 1, SIDE, SIDE, generator=generator).sign()

    def noised(count: int, seed: int) -> tuple[Tensor, Tensor]:
        eps = draw(count, seed)
        which = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed))
        return pair[which] + eps, eps

    (xt, eps), (test_xt, test_eps) = noised(240, 5), noised(240, 6)
    residuals = test_xt[:, None] - pair
    weights = torch.softmax(-residuals.square().flatten(2).sum(2) / 2, 1)
    ideal = (weights[:, :, None, None, None] * residuals).sum(1)
    floor = float((ideal - test_eps).square().mean())
    loss = trained(examples(xt, eps), examples(test_xt, test_eps), epochs=6).curve[-1]
    assert 0 < floor < loss < 1


def test_training_trial_result_counts_spikes_after_first_epoch() -> None:
    trial = trained(examples(draw(32, 1), draw(32, 2)), examples(draw(8, 3), draw(8, 4)), epochs=1)
    trial.losses = [[9.0, 1.0], [1.0, 1.0, 3.5, 1.0], [1.0, 1.0, 1.0, 1.0]]
    trial.norms = [[100.0, 1.0], [1.0, 3.0, 1.0, 3.0], [1.0, 3.0, 1.0, 3.0]]
    result = trial.result([0.5])
    assert (result.spikes, result.steps) == (1, 8)
    assert result.gradient == pytest.approx(2.0)
    assert result.gradient_spread == pytest.approx(0.5)
    assert result.training == [5.0, 1.625, 1.0]
    assert result.loss == trial.curve[-1]


def test_training_trial_is_reproducible() -> None:
    fit, test = examples(draw(32, 1), draw(32, 2)), examples(draw(8, 3), draw(8, 4))
    assert trained(fit, test).curve == trained(fit, test).curve
