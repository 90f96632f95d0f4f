from __future__ import annotations

import numpy as np
import pytest
import torch

from dipddpm.core.config import parse_task
from dipddpm.core.ddpm.posterior import METHODS
from dipddpm.core.degrade import degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for, diffusion_for_mean
from dipddpm.core.metrics.image import psnr
from tests.core.methods.cases import assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)
TASKS = [
    "denoise:sigma=25",
    "denoise:sigma=50,blind=true",
    "denoise:noise=salt-and-pepper",
    "inpaint",
    "superres",
    "deblur",
]


@pytest.mark.parametrize("task", TASKS)
def test_diffusion_for_suits_every_task(task: str) -> None:
    given = case(task, TRUTH)
    chosen = diffusion_for(given.degradation)
    assert chosen.method in METHODS
    made = DdpmRestorer(given, ideal_prior(TRUTH), samples=2)
    list(made)
    assert made.nfe == 2 * chosen.steps == 2 * len(made)
    assert (psnr(made.images, TRUTH) > 20).all()


@pytest.mark.parametrize("task", TASKS)
def test_diffusion_for_mean_draws_different_samples(task: str) -> None:
    given = case(task, TRUTH)
    chosen = diffusion_for_mean(given.degradation)
    samples = []
    for seed in range(2):
        made = DdpmRestorer(
            Case(given.y, given.degradation, given.shape, seed),
            ideal_prior(shapes(40, seed=1)),
            method=chosen.method,
            steps=chosen.steps,
        )
        list(made)
        samples.append(made.images)
    assert not torch.equal(*samples)


@pytest.mark.parametrize(("sigma", "method"), [("0", "ddnm"), ("2", "diffpir"), ("2,blind=true", "diffpir")])
def test_diffusion_for_blur_depends_on_noise(sigma: str, method: str) -> None:
    assert diffusion_for(case(f"deblur:width=1,sigma={sigma}", TRUTH).degradation).method == method


@pytest.mark.parametrize(
    ("task", "method"), [("missing=0.7", "mmps"), ("missing=0.1", "diffpir"), ("box=4", "diffpir")]
)
def test_diffusion_for_mean_depends_on_missing_share(task: str, method: str) -> None:
    assert diffusion_for_mean(case(f"inpaint:{task},sigma=5", TRUTH).degradation).method == method


def test_ddpm_restorer_blind_level_makes_little_difference() -> None:
    big = shapes(6, size=28)
    known, blind = (case(f"denoise:sigma=50{suffix}", big) for suffix in ("", ",blind=true"))
    prior = ideal_prior(shapes(40, seed=1, size=28))
    results = []
    for given in (known, blind):
        made = DdpmRestorer(given, prior)
        list(made)
        results.append(made.images)
    assert (results[0] - results[1]).square().mean() < 0.02 * (results[0] - big).square().mean()


def test_ddpm_restorer_resumes_exactly_and_counts_evaluations() -> None:
    given = case("inpaint:missing=0.5,sigma=5", TRUTH)
    prior = ideal_prior(shapes(8, seed=1))
    assert_resumes_exactly(lambda: DdpmRestorer(given, prior, method="ddnm", steps=6, samples=2), [0, 3, 6])
    made = DdpmRestorer(given, prior, method="dps", steps=5)
    list(made)
    assert made.nfe == len(made) == 5


def test_ddpm_restorer_depends_on_seed() -> None:
    y, degradation = degrade(parse_task("inpaint:missing=0.9"), TRUTH, range(3))
    prior = ideal_prior(shapes(30, seed=1))
    results = []
    for seed in (0, 0, 1):
        made = DdpmRestorer(Case(y, degradation, (3, 1, 12, 12), seed), prior, steps=10)
        list(made)
        results.append(made.images)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("task", ["inpaint:missing=0.6,sigma=5", "superres"])
def test_spread_is_the_deviation_of_the_samples(task: str) -> None:
    made = DdpmRestorer(case(task, TRUTH), ideal_prior(shapes(40, seed=1)), steps=5, samples=4)
    list(made)
    # The samples of an image are consecutive in xt, which is in [-1, 1].
    raw = (made.xt.double().numpy().reshape(3, 4, 1, 12, 12) + 1) / 2
    assert made.samples is not None and made.spread is not None
    np.testing.assert_allclose(made.samples.numpy(), raw.swapaxes(0, 1), atol=1e-6)
    np.testing.assert_allclose(made.spread.numpy(), raw.std(1, ddof=1), atol=1e-6)
    assert (made.spread > 0).any()
    torch.testing.assert_close(made.samples.mean(0), made.images)


def test_one_sample_and_the_posterior_mean_have_no_spread() -> None:
    one = DdpmRestorer(case("inpaint", TRUTH), ideal_prior(TRUTH), steps=5)
    mean = DdpmRestorer(case("denoise:sigma=25", TRUTH), ideal_prior(TRUTH), samples=3)
    for made in (one, mean):
        list(made)
        assert made.samples is None and made.spread is None
