from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipddpm.core.study.trial import Examples, TrainingTrial, trial_network

SIDE = 8


def draw(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def lesson(given: Tensor, wanted: Tensor) -> Examples:
    return Examples(torch.cat([given, given], 1), torch.zeros(len(given), dtype=torch.long), wanted)


def trial(fit: Examples, test: Examples, epochs: int = 3) -> TrainingTrial:
    made = TrainingTrial(trial_network((SIDE, SIDE), 10, 0, "cpu"), fit, test, epochs=epochs, seed=0)
    for _ in made:
        pass
    return made


def test_training_trial_reaches_noise_variance_without_information() -> None:
    eps, test = draw(160, 1), draw(160, 2)
    made = trial(lesson(draw(160, 3), eps), lesson(draw(160, 4), test))
    variance = float(test.square().mean())
    assert variance <= made.curve[-1] + 0.005
    assert made.curve[-1] == pytest.approx(variance, abs=0.03)


def test_training_trial_learns_noise_given_as_input() -> None:
    eps, test = draw(160, 1), draw(160, 2)
    assert trial(lesson(eps, eps), lesson(test, test), epochs=6).curve[-1] < 0.2


def test_training_trial_stays_above_loss_of_posterior_mean() -> None:
    """With x0 one of two known images the best estimate of eps is exact: the mean over both, weighted by Bayes."""
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
    learned = trial(lesson(xt, eps), lesson(test_xt, test_eps), epochs=6).curve[-1]
    assert 0 < floor < learned < 1


def test_training_trial_result_counts_spikes_after_first_epoch() -> None:
    made = trial(lesson(draw(32, 1), draw(32, 2)), lesson(draw(8, 3), draw(8, 4)), epochs=1)
    made.losses = [[9.0, 1.0], [1.0, 1.0, 3.5, 1.0], [1.0, 1.0, 1.0, 1.0]]
    made.norms = [[100.0, 1.0], [1.0, 3.0, 1.0, 3.0], [1.0, 3.0, 1.0, 3.0]]
    found = made.result([0.5])
    assert (found.spikes, found.steps) == (1, 8)
    assert found.gradient == pytest.approx(2.0)
    assert found.gradient_spread == pytest.approx(0.5)
    assert found.training == [5.0, 1.625, 1.0]
    assert found.loss == made.curve[-1]


def test_training_trial_is_reproducible() -> None:
    fit, test = lesson(draw(32, 1), draw(32, 2)), lesson(draw(8, 3), draw(8, 4))
    assert trial(fit, test).curve == trial(fit, test).curve
