"""Tests of the noise estimate, with pictures of scikit-image and noise drawn by numpy, as files of 8 bits hold it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import Tensor

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import (
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltAndPepper,
    UnknownNoise,
    degrade,
)
from dipddpm.core.degrade.noise_estimate import NoiseEstimate, estimate_noise, resolve_noise
from dipddpm.core.errors import UserError

Values = NDArray[np.float64]
COFFEE: Values = data.coffee()[:256, 100:356].transpose(2, 0, 1) / 255.0
CLOCK: Values = data.clock()[None, :256, :256] / 255.0


def stored(values: Values) -> Tensor:
    """Return values as a file of 8 bits stores them."""
    return torch.from_numpy(np.round(np.clip(values, 0, 1) * 255) / 255).float()


def gaussian(clean: Values, sigma: float, seed: int = 0) -> Values:
    return clean + np.random.default_rng(seed).normal(0, sigma / 255, clean.shape)


def with_impulses(values: Values, hit: float) -> Values:
    drawn = np.random.default_rng(1).random(values.shape)
    return np.where(drawn < hit / 2, 0.0, np.where(drawn > 1 - hit / 2, 1.0, values))


def estimated(y: Tensor, measured: Tensor | None = None) -> NoiseEstimate:
    return estimate_noise(y, torch.ones_like(y) if measured is None else measured)


@pytest.mark.parametrize("sigma", [5, 15, 40, 75])
@pytest.mark.parametrize("clean", [COFFEE, CLOCK], ids=["coffee", "clock"])
def test_level_of_gaussian_noise_in_pictures(clean: Values, sigma: float) -> None:
    found = estimated(stored(gaussian(clean, sigma)))
    assert found.kind == "gaussian"
    assert found.sigma == pytest.approx(sigma, rel=0.1)
    assert found.lower < found.sigma < found.upper
    assert f"Gaussian noise of sigma {found.sigma:.1f} (" in found.sentence


@settings(max_examples=5, deadline=None)
@given(st.floats(5, 35), st.floats(0.3, 0.7), st.integers(0, 2**32), st.booleans())
def test_level_on_flat_picture(sigma: float, level: float, seed: int, rounded: bool) -> None:
    values = gaussian(np.full((1, 96, 96), level), sigma, seed)
    noise = estimated(stored(values) if rounded else torch.from_numpy(values).float()).noise()
    y = torch.full((1, 1, 96, 96), level)
    variance = noise.variance(y, torch.ones_like(y))  # one brightness doesn't tell Poisson from Gaussian noise
    assert variance is not None
    assert math.sqrt(variance.item()) * 255 == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("photons", [8, 30, 200])
def test_poisson_noise_is_distinguished_from_gaussian(photons: float) -> None:
    found = estimated(stored(np.random.default_rng(0).poisson(COFFEE * photons) / photons))
    assert found.kind == "poisson"
    assert found.photons == pytest.approx(photons, rel=0.1)
    assert found.lower <= photons <= found.upper
    assert "photons at white" in found.sentence


def test_poisson_and_gaussian_noise_together() -> None:
    counts = np.random.default_rng(0).poisson(COFFEE * 60) / 60
    found = estimated(stored(gaussian(counts, 12, seed=1)))
    assert found.kind == "poisson-gaussian"
    assert found.photons == pytest.approx(60, rel=0.15)
    assert found.sigma == pytest.approx(12, rel=0.15)


@pytest.mark.parametrize("hit", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("sigma", [0, 15])
def test_impulses_with_gaussian_noise(hit: float, sigma: float) -> None:
    found = estimated(stored(with_impulses(gaussian(COFFEE, sigma), hit)))
    assert found.kind == "salt-and-pepper"
    assert found.hit == pytest.approx(hit, rel=0.15)
    assert found.sigma == pytest.approx(sigma, rel=0.15, abs=3)
    assert "Impulses at" in found.sentence


@pytest.mark.parametrize("hit", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("surroundings", [0.0, 1.0])
@pytest.mark.parametrize("brightness", [0.4, 1.0])
def test_impulses_in_pictures_with_black_and_white_parts(hit: float, surroundings: float, brightness: float) -> None:
    rows, columns = np.ogrid[:256, :256]
    inside = (rows - 128) ** 2 + (columns - 128) ** 2 < 100**2
    found = estimated(stored(with_impulses(np.where(inside, CLOCK * brightness, surroundings), hit)))
    assert found.kind == "salt-and-pepper"
    assert found.hit == pytest.approx(hit, rel=0.15)


def test_black_and_white_parts_are_no_impulses() -> None:
    rng = np.random.default_rng(0)
    dark = np.pad(COFFEE[:, :128, :128], ((0, 0), (64, 64), (64, 64)))
    for photons in (5, 30):
        assert estimated(stored(rng.poisson(dark * photons) / photons)).kind == "poisson"
    assert estimated(stored(gaussian(dark, 20))).kind == "gaussian"


def test_intact_picture_has_hardly_any_noise() -> None:
    found = estimated(stored(CLOCK))
    assert found.kind == "none"
    assert found.sentence.startswith("Hardly any noise")


def test_missing_pixels_do_not_count() -> None:
    y = stored(gaussian(COFFEE, 20))
    measured = torch.ones_like(y)
    measured[:, torch.rand(y.shape[1:], generator=torch.Generator().manual_seed(0)) < 0.4] = 0
    found = estimated(torch.where(measured > 0, y, torch.zeros_like(y)), measured)
    assert found.kind == "gaussian"
    assert found.sigma == pytest.approx(20, rel=0.1)


def test_grey_stored_as_colours_has_the_same_level() -> None:
    y = stored(gaussian(CLOCK, 20)).expand(3, -1, -1)
    assert estimated(y).sigma == pytest.approx(20, rel=0.1)


def test_correlated_noise_is_uncertain() -> None:
    small = (stored(gaussian(CLOCK, 25))[0] * 255).byte().numpy()
    large = Image.fromarray(small).resize((512, 512), Image.Resampling.BILINEAR)
    found = estimated(torch.from_numpy(np.asarray(large, np.float32) / 255)[None])
    assert found.correlated
    assert found.certainty < 0.5
    assert found.lower < 15 < found.upper  # the weights of the interpolation reduce 25 to about 15
    assert "correlated between neighbours" in found.sentence


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (5, 400)])
def test_small_pictures_give_an_estimate(size: tuple[int, int]) -> None:
    found = estimated(stored(gaussian(np.full((1, *size), 0.5), 20)))
    assert found.sigma == pytest.approx(20, rel=0.4)
    assert 0 < found.certainty <= 1


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(1, 9, 40), (3, 23, 31), (1, 64, 64)]),
    st.sampled_from([lambda x: x, np.round, lambda x: x**9, lambda x: np.round(x * 3) / 3, lambda x: 4 * x - 2]),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_any_values_give_a_finite_estimate(
    shape: tuple[int, int, int], change: Callable[[Values], Values], missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = torch.from_numpy(change(rng.random(shape))).float()
    measured = torch.from_numpy(rng.random(shape) >= missing).float()
    try:
        found = estimated(y, measured)
    except UserError as error:
        assert "no block of 3x3 pixels" in error.problem
        return
    assert np.isfinite([found.sigma, found.photons, found.hit]).all()
    assert found.lower <= found.upper
    assert 0 <= found.certainty <= 1
    assert found.sentence


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_pictures_have_no_noise(value: float) -> None:
    assert estimated(torch.full((1, 64, 64), value)).kind == "none"


@settings(max_examples=15, deadline=None)
@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24)), elements=st.floats(width=32)
    ),
    st.booleans(),
)
@pytest.mark.filterwarnings("error")
def test_floats_of_any_size_give_a_finite_estimate(values: NDArray[np.float32], missing: bool) -> None:
    y = torch.from_numpy(values)
    try:
        found = estimated(y, torch.zeros_like(y) if missing else None)
    except UserError as error:
        assert "noise level can't be estimated" in error.problem
        return
    assert np.isfinite([found.sigma, found.photons, found.hit, found.lower, found.upper]).all()
    assert 0 <= found.certainty <= 1


def test_large_picture_is_sampled() -> None:
    y = stored(gaussian(np.full((3, 700, 900), 0.5), 30))
    assert estimated(y).sigma == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize(
    ("estimate", "noise"),
    [
        (NoiseEstimate("gaussian", 51), GaussianNoise(0.2)),
        (NoiseEstimate("none", 0.51), GaussianNoise(0.002)),
        (NoiseEstimate("poisson", photons=30), PoissonNoise(30)),
        (NoiseEstimate("poisson-gaussian", 51, 30), PoissonGaussianNoise(30, 0.2)),
        (NoiseEstimate("salt-and-pepper", 51, hit=0.1), SaltAndPepper(0.1, 0.2)),
    ],
)
def test_noise_of_an_estimate(estimate: NoiseEstimate, noise: object) -> None:
    made = estimate.noise()
    assert type(made) is type(noise)
    assert vars(made) == pytest.approx(vars(noise))


def test_resolve_noise_replaces_unknown_noise_only() -> None:
    y = stored(gaussian(COFFEE, 20))[None]
    degradation, estimate = resolve_noise(y, Degradation(Identity(), UnknownNoise()))
    assert isinstance(degradation.noise, GaussianNoise)
    assert estimate is not None
    assert degradation.noise.sigma * 255 == estimate.sigma == pytest.approx(20, rel=0.1)
    known = degrade(parse_task("denoise:sigma=20"), y, [0])[1]
    assert resolve_noise(y, known) == (known, None)


def test_resolve_noise_leaves_missing_pixels_out() -> None:
    mask = torch.ones(1, 1, 256, 256)
    mask[..., 100:150, :] = 0
    y = stored(gaussian(COFFEE, 20))[None] * mask
    degradation, _ = resolve_noise(y, Degradation(Mask(mask), UnknownNoise()))
    assert isinstance(degradation.noise, GaussianNoise)
    assert degradation.noise.sigma * 255 == pytest.approx(20, rel=0.1)
