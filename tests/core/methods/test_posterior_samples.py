from __future__ import annotations

import pytest
import torch

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.methods import posterior_samples
from dipddpm.core.methods.posterior_samples import PosteriorSamples
from tests.core.ddpm.ideal import Gaussian
from tests.core.methods.cases import SCHEDULE, assert_resumes_exactly, case, ideal_prior, shapes

TASK = "inpaint:missing=0.5,sigma=20"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior_samples, "PART", 6)


@pytest.mark.parametrize("samples", [1, 3])
def test_posterior_samples_have_posterior_moments_of_white_data(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For N(0.5, 0.2^2) pixels the posterior of each pixel is Gaussian, and known in closed form."""
    monkeypatch.setattr(posterior_samples, "PART", 15 * samples)
    truth = 0.5 + 0.2 * torch.randn(30, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    known = case(TASK, truth)
    model = TrainedModel(Gaussian(SCHEDULE, 0.0, 0.4), SCHEDULE, DdpmConfig(), torch.device("cpu"))
    restorer = PosteriorSamples(known, model, method="pigdm", steps=300, samples=samples)
    steps = sum(1 for _ in restorer)
    assert (steps, restorer.nfe) == (len(restorer), 300 * samples)
    noise, prior = (20 / 255) ** 2, 0.2**2
    measured = known.degradation.operator.measured(known.y).expand_as(truth) > 0
    mean = torch.where(measured, (prior * known.y + noise * 0.5) / (prior + noise), 0.5)
    deviation = torch.where(measured, (prior * noise / (prior + noise)) ** 0.5, 0.2)
    scores = (restorer.drawn - mean[:, None]) / deviation[:, None]
    for part in (measured, ~measured):
        chosen = scores.movedim(1, -1)[part]
        assert abs(float(chosen.mean())) < 0.06
        assert 0.95 < float(chosen.std()) < 1.06
    torch.testing.assert_close(restorer.images, restorer.drawn.mean(1))
    assert (restorer.spread is None) == (samples == 1)


@pytest.mark.parametrize("samples", [1, 2])
def test_posterior_samples_resume_exactly(samples: int) -> None:
    known, prior = case(TASK, shapes(8)), ideal_prior(shapes(5, seed=1))
    assert_resumes_exactly(
        lambda: PosteriorSamples(known, prior, method="diffpir", steps=3, samples=samples), list(range(1, 10, 2))
    )


def test_posterior_samples_of_an_image_differ_and_follow_the_seed() -> None:
    known, prior = case(TASK, shapes(8)), ideal_prior(shapes(5, seed=1))
    restorers = [PosteriorSamples(known, prior, method="ddnm", steps=3, samples=2) for _ in range(2)]
    for restorer in restorers:
        list(restorer)
    assert torch.equal(restorers[0].drawn, restorers[1].drawn)
    assert not torch.equal(restorers[0].drawn[:, 0], restorers[0].drawn[:, 1])
    assert restorers[0].drawn.flatten(1).abs().amax(1).min() > 0
