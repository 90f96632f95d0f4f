"""Exact denoisers and posteriors of mixtures, against densities of scipy and weighted draws from the prior."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from benchmarks.exact import Mixture
from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.posterior import Problem
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import degrade
from dipddpm.core.images import to_unit

SCHEDULE = Schedule.from_config(DdpmConfig())
IMAGES = 0.6 * torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(0))
PRIOR = Mixture.around(IMAGES, 0.7, 0.2)


def problem(task: str, count: int = 2) -> Problem:
    truth = PRIOR.sample(count, torch.Generator().manual_seed(1))
    y, degradation = degrade(parse_task(task), to_unit(truth), range(count))
    return Problem(y, degradation, tuple(truth.shape))


def test_gaussian_has_mean_and_covariance_of_images() -> None:
    prior = Mixture.gaussian(IMAGES, 0.1)
    drawn = prior.sample(200_000, torch.Generator().manual_seed(0)).flatten(1)
    expected = np.cov(IMAGES.flatten(1).T.numpy(), bias=True) + 0.01 * np.eye(4)
    np.testing.assert_allclose(np.cov(drawn.T.numpy()), expected, atol=0.01)
    torch.testing.assert_close(drawn.mean(0), IMAGES.flatten(1).mean(0), rtol=0, atol=0.01)


@pytest.mark.parametrize("t", [5, 200, 600])
def test_network_is_mean_of_images_given_xt(t: int) -> None:
    """By Bayes, each mean is weighted by its density of xt, and moved as the mean of a Gaussian given another one."""
    a, s = SCHEDULE.alpha_sigma(t)
    xt = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    found = PRIOR.network(SCHEDULE)(xt, torch.full((3,), t))
    covariance = PRIOR.covariance.numpy()
    system = a**2 * covariance + s**2 * np.eye(4)
    for index in range(3):
        pixels, weights, means = xt[index].flatten().double().numpy(), [], []
        for mean in IMAGES.flatten(1).double().numpy():
            weights.append(multivariate_normal.pdf(pixels, a * mean, system))
            means.append(mean + a * covariance @ np.linalg.solve(system, pixels - a * mean))
        expected = np.average(means, axis=0, weights=weights)
        np.testing.assert_allclose(found[index].flatten().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=40", "superres:factor=2,sigma=30", "denoise:sigma=60"])
def test_posterior_equals_weighted_draws_from_prior(task: str) -> None:
    """Draws from the prior, weighted by the density of y, have the posterior's mean and variance."""
    given = problem(task)
    posterior = PRIOR.posterior(given)
    drawn = PRIOR.sample(400_000, torch.Generator().manual_seed(3))
    for index in range(2):
        operator = given.operator.select([index] * len(drawn))
        misfit = (operator.A(drawn) - given.y[index]).square().flatten(1).sum(1)
        weights = torch.softmax(-misfit / (2 * given.sigma[index].item() ** 2), 0)
        mean = _weighted(weights, drawn)
        assert 1 / weights.square().sum() > 2_000
        torch.testing.assert_close(posterior.mean[index].float(), mean, rtol=0, atol=0.03)
        variance = _weighted(weights, (drawn - mean).square())
        torch.testing.assert_close(posterior.variance[index].float(), variance, rtol=0.1, atol=0.003)


def _weighted(weights: Tensor, images: Tensor) -> Tensor:
    return torch.einsum("n,nchw->chw", weights, images)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=40", "deblur:width=0.6,sigma=30"])
def test_samples_have_mean_and_variance_of_posterior(task: str) -> None:
    posterior = PRIOR.posterior(problem(task))
    samples = posterior.sample(40_000, torch.Generator().manual_seed(4))
    assert samples.shape == (40_000, 2, 1, 2, 2)
    torch.testing.assert_close(samples.mean(0), posterior.mean, rtol=0, atol=0.015)
    torch.testing.assert_close(samples.var(0), posterior.variance, rtol=0.05, atol=0)
    assert ((posterior.effective >= 1) & (posterior.effective <= 5)).all()
