from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pytest
import torch

from dipddpm.core.config import DdpmConfig
from dipddpm.core.config.hybrid import PriorInit
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.chains import Chains
from dipddpm.core.methods.prior_init import PriorInitRestorer
from dipddpm.core.methods.starts import start_restorer
from dipddpm.core.metrics.image import psnr
from tests.core.ddpm.ideal import Gaussian
from tests.core.methods.cases import SCHEDULE, SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)


@pytest.mark.parametrize("start", ["classic", "dip"])
@pytest.mark.parametrize("task", ["inpaint:missing=0.7,sigma=5", "denoise:sigma=50,blind=true", "deblur:sigma=2"])
def test_prior_init_beats_its_start_in_few_steps(task: str, start: Literal["classic", "dip"]) -> None:
    given, dip = case(task, TRUTH), msgspec.structs.replace(SMALL, iterations=60)
    prior = ideal_prior(shapes(12, seed=1).index_put((torch.arange(3),), TRUTH))
    made = PriorInitRestorer(given, prior, PriorInit(start=start, steps=10), dip)
    list(made)
    alone = start_restorer(start, given, dip)
    list(alone)
    assert (psnr(made.images, TRUTH) > psnr(alone.images, TRUTH) + 2).all()
    assert made.nfe == 80
    assert (made.iterations > 30) is (start == "dip")


def test_chains_start_at_right_marginal_per_image() -> None:
    start = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    given = case("inpaint:missing=0.5", start)
    chains = Chains(
        ideal_prior(start), given.y, given.degradation, start, [0.02, 2.0, 0.02], steps=4, samples=5, seed=0
    )
    assert sorted(chains.groups.values()) == [[0, 2], [1]]
    for (begin, group), sampling in zip(sorted(chains.groups.items()), chains.samplings, strict=True):
        assert sampling.path[0] == begin
        a, s = SCHEDULE.alpha_sigma(begin)
        noise = sampling.xt.view(len(group), 5, 1, 40, 40) - a * to_model(start[group])[:, None]
        assert noise.std().item() == pytest.approx(s, rel=0.05)
        assert abs(noise.mean().item()) < 0.05 * s + 0.01
    torch.testing.assert_close(chains.images, start)


def test_chains_reach_theoretical_mean_from_any_start() -> None:
    """When inpainting without noise, measured pixels equal y, and the other ones the data's mean, for any start."""
    mean, std = 0.1, 0.3
    x = to_unit(mean + std * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    given = case("inpaint:missing=0.5", x)
    prior = TrainedModel(Gaussian(SCHEDULE, mean, std), SCHEDULE, DdpmConfig(), torch.device("cpu"))
    chains = Chains(prior, given.y, given.degradation, x * 0 + 0.9, [1.0] * 4, steps=50, samples=64, seed=0)
    list(chains)
    measured = given.degradation.operator.measured(given.y) > 0
    torch.testing.assert_close(chains.images[measured], x[measured], rtol=0, atol=0.03)
    assert chains.images[~measured].mean().item() == pytest.approx((mean + 1) / 2, abs=0.02)


def test_prior_init_resumes_exactly() -> None:
    given, prior = case("inpaint:missing=0.6,sigma=5", TRUTH), ideal_prior(shapes(5, seed=1))
    options = PriorInit(start="dip", steps=3, samples=2)
    assert_resumes_exactly(lambda: PriorInitRestorer(given, prior, options, SMALL), [0, 10, 26, 48, 52, 54])


def test_chains_keep_the_samples_of_each_image_apart() -> None:
    """Images 0 and 2 start at another timestep than image 1; the spread is that of numpy on the raw samples."""
    start = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    given = case("inpaint:missing=0.5,sigma=5", start)
    chains = Chains(
        ideal_prior(shapes(9, size=8)), given.y, given.degradation, start, [0.02, 2.0, 0.02], steps=3, samples=5, seed=0
    )
    before = chains.samples, chains.spread
    list(chains)
    assert before == (None, None)
    assert chains.samples is not None and chains.spread is not None
    torch.testing.assert_close(chains.samples.mean(0), chains.images)
    for group, sampling in zip(chains.groups.values(), chains.samplings, strict=True):
        raw = (sampling.xt.double().numpy().reshape(len(group), 5, 1, 8, 8) + 1) / 2
        np.testing.assert_allclose(chains.spread[group].numpy(), raw.std(1, ddof=1), atol=1e-6)


def test_prior_init_has_a_spread_once_it_samples() -> None:
    given = case("inpaint:missing=0.6,sigma=5", TRUTH)
    made = PriorInitRestorer(given, ideal_prior(shapes(5, seed=1)), PriorInit(start="dip", steps=3, samples=4), SMALL)
    before = made.samples, made.spread
    list(made)
    assert before == (None, None)
    assert made.samples is not None and made.spread is not None
    assert made.samples.shape == (4, 3, 1, 12, 12)
    torch.testing.assert_close(made.samples.std(0), made.spread)
