"""Tests of the Anscombe transform and of the correction of clipped values, against draws of numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import (
    CircularBlur,
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    Noise,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltAndPepper,
    degrade,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.noise_curve import clipped_moments
from dipddpm.core.degrade.stabilize import correct_clipping, stabilize

SIZE = (1, 1, 400, 400)


def measured_case(level: float, photons: float, sigma: float, *, masked: bool = False) -> Case:
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.poisson(level * photons, SIZE) / photons + rng.normal(0, 1, SIZE) * sigma)
    noise = PoissonGaussianNoise(photons, sigma) if sigma else PoissonNoise(photons)
    mask = torch.ones(SIZE, dtype=y.dtype)
    mask[..., ::2] = 0
    return Case(y * mask if masked else y, Degradation(Mask(mask) if masked else Identity(), noise), SIZE)


@pytest.mark.parametrize(("photons", "sigma"), [(20, 0.0), (200, 0.0), (20, 0.1), (200, 0.02)])
@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("masked", [False, True])
def test_stabilized_noise_has_its_level_and_its_mean_leads_back(
    level: float, photons: float, sigma: float, masked: bool
) -> None:
    case, inverse = stabilize(measured_case(level, photons, sigma, masked=masked))
    noise, operator = case.degradation.noise, case.degradation.operator
    values = case.y[operator.measured(case.y) > 0]
    assert isinstance(noise, GaussianNoise)
    assert values.std().item() == pytest.approx(noise.sigma, rel=0.06)
    assert inverse(values.mean()).item() == pytest.approx(level, abs=0.004)
    assert (case.y[operator.measured(case.y) == 0] == 0).all()


@given(st.floats(3, 1e4), st.floats(0, 0.2))
def test_inverse_increases_and_stays_near_the_range(photons: float, sigma: float) -> None:
    _, inverse = stabilize(_tiny(photons, sigma))
    found = inverse(torch.linspace(-0.2, 1, 200, dtype=torch.float64))
    assert (found.diff() >= -1e-9).all()
    assert found.min() >= 0
    assert found.max().item() == pytest.approx(1, abs=0.5 / photons)


def _tiny(photons: float, sigma: float) -> Case:
    noise = PoissonGaussianNoise(photons, sigma)
    return Case(torch.full((1, 1, 2, 2), 0.5), Degradation(Identity(), noise), (1, 1, 2, 2))


@pytest.mark.parametrize("noise", [GaussianNoise(0.1), SaltAndPepper(0.1)])
def test_other_noise_is_left_as_it_is(noise: Noise) -> None:
    case = Case(torch.rand(1, 1, 4, 4), Degradation(Identity(), noise), (1, 1, 4, 4))
    same, inverse = stabilize(case)
    assert same is case
    assert torch.equal(inverse(case.y), case.y)


def test_blurred_counts_are_left_as_they_are() -> None:
    y, degradation = degrade(parse_task("deblur:noise=poisson,photons=20"), torch.rand(1, 1, 16, 16), [0])
    assert isinstance(degradation.operator, CircularBlur)
    case = Case(y, degradation, (1, 1, 16, 16))
    assert stabilize(case)[0] is case


@given(st.floats(0.001, 0.999), st.floats(0.01, 0.4))
def test_moments_of_clipped_noise_match_scipy(center: float, sigma: float) -> None:
    mean, variance = (float(each[0]) for each in clipped_moments(np.array([center]), sigma))
    distribution = norm(center, sigma)
    expected = distribution.expect(lambda t: t, 0, 1) + distribution.sf(1)
    square = distribution.expect(lambda t: t * t, 0, 1) + distribution.sf(1)
    assert mean == pytest.approx(expected, abs=1e-6)
    assert variance == pytest.approx(square - expected**2, abs=1e-6)


@pytest.mark.parametrize("level", [0.02, 0.3, 0.5, 0.95])
@pytest.mark.parametrize("sigma", [0.1, 75 / 255])
def test_correct_clipping_finds_true_value_from_mean_of_file(level: float, sigma: float) -> None:
    values = np.clip(np.random.default_rng(0).normal(level, sigma, 1_000_000), 0, 1)
    found = correct_clipping(torch.tensor([[[[values.mean()]]]]), sigma)
    assert found.item() == pytest.approx(level, abs=0.002)


def test_correct_clipping_leaves_values_without_noise() -> None:
    images = torch.rand(1, 1, 4, 4)
    assert torch.equal(correct_clipping(images, 0), images)
    torch.testing.assert_close(correct_clipping(images, 1e-3), images, atol=2e-3, rtol=0)
