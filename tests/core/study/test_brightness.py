from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dipddpm.core import data
from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.study import ExplanationConfig
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.metrics.spread import Spread
from dipddpm.core.report.study import MEAN_GAIN
from dipddpm.core.study.brightness import BrightnessTrial, MeanGivenBack
from dipddpm.core.study.findings import AS_PUBLISHED, MEAN_GIVEN_BACK, REAL, WITHOUT_NORM


class Constant(nn.Module):
    """A network that predicts noise of mean 7, whatever xt is."""

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        del t
        return torch.linspace(6, 8, xt[0].numel(), dtype=xt.dtype).view_as(xt[0]).expand_as(xt)


@pytest.mark.parametrize("t", [0, 300, 999])
def test_mean_given_back_is_best_linear_guess(t: int) -> None:
    """The oracle is the least-squares fit of the means of eps to the means of xt, on a million Gaussian pairs."""
    schedule = Schedule.from_config(DdpmConfig(), "cpu")
    real, pixels = Spread(center=-0.4, brightness=0.25, contrast=0.6), 16
    network = MeanGivenBack(Constant(), schedule, real)
    generator = torch.Generator().manual_seed(0)
    x0 = -0.4 + 0.25 * torch.randn(1_000_000, generator=generator, dtype=torch.float64)
    eps = torch.randn(1_000_000, generator=generator, dtype=torch.float64) / math.sqrt(pixels)
    alpha, sigma = schedule.alpha_sigma(t)
    xt = alpha * x0 + sigma * eps
    slope = float(torch.cov(torch.stack([xt, eps]))[0, 1] / xt.var())
    brightness = torch.tensor([-3.0, 0.0, 0.5])
    images = brightness.view(3, 1, 1, 1) + torch.linspace(-1, 1, pixels).view(1, 1, 4, 4)
    predicted = network(images, torch.full((3,), t))
    expected = slope * (brightness - float(xt.mean()))
    torch.testing.assert_close(predicted.mean((1, 2, 3)), expected.float(), atol=5e-3, rtol=5e-3)
    shape = predicted - predicted.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(shape[0, 0].flatten(), torch.linspace(-1, 1, pixels))


@pytest.mark.slow
def test_brightness_trial_changes_one_norm_and_nothing_else() -> None:
    train, test = data.load("fashion-mini", "train"), data.load("fashion-mini", "test")
    options = ExplanationConfig(baseline_images=40, baseline_epochs=1, baseline_samples=128, baseline_steps=2)
    trial = BrightnessTrial(train, test, options, seed=3, device="cpu")
    published, changed = trial.networks[AS_PUBLISHED], trial.networks[WITHOUT_NORM]
    assert isinstance(published, TutorialNetwork)
    assert isinstance(changed, TutorialNetwork)
    for one, other in zip(published.parameters(), changed.parameters(), strict=True):
        assert torch.equal(one, other)
    norms = [[m.normalize for m in n.modules() if hasattr(m, "normalize")] for n in (published, changed)]
    assert [a != b for a, b in zip(*norms, strict=True)] == [True] + [False] * (len(norms[0]) - 1)
    steps = list(trial)
    assert len(steps) == len(trial) == trial.step == 2 * 2 + 3 * 2
    results = trial.results()
    assert list(results) == [REAL, AS_PUBLISHED, MEAN_GIVEN_BACK, WITHOUT_NORM]
    assert results[REAL].spread == pytest.approx(0.25, abs=0.04)
    assert results[AS_PUBLISHED].response == pytest.approx(0, abs=1e-4)
    assert results[MEAN_GIVEN_BACK].response == pytest.approx(1, abs=0.01)
    assert results[AS_PUBLISHED].losses == results[MEAN_GIVEN_BACK].losses


def test_report_names_gain_of_published_schedule() -> None:
    alpha, _ = Schedule.from_config(DdpmConfig(), "cpu").alpha_sigma(999)
    assert round(1 / alpha) == MEAN_GAIN
