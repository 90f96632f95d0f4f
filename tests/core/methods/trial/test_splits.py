"""Test the splits of the measurements against naive formulas and restorations whose error is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dipddpm.core.degrade import (
    BlockMean,
    Degradation,
    GaussianNoise,
    Identity,
    Mask,
    Noise,
    Operator,
    PoissonNoise,
    SaltAndPepper,
)
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.features import Final, measure
from dipddpm.core.methods.trial.holes import hide_like_missing
from dipddpm.core.methods.trial.perturbation import SHARE, perturbed
from dipddpm.core.methods.trial.splits import Split, split_measurements
from dipddpm.core.methods.trial.tried import Tried

SIDE = 64
LEVEL = 0.05


def given(y: NDArray[np.float64], operator: Operator, noise: Noise, side: int = SIDE) -> Case:
    return Case(torch.from_numpy(y).float(), Degradation(operator, noise), (len(y), y.shape[1], side, side), 3)


def smooth(rng: np.random.Generator, count: int = 4) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw stationary Gaussian fields (count, 1, SIDE, SIDE) around 0.5, and return them with their spectrum."""
    frequencies = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequencies[:, None], frequencies)
    spectrum = 1 / (0.02 + radius) ** 2
    spectrum *= 0.1**2 / spectrum.mean()
    white = rng.standard_normal((count, 1, SIDE, SIDE))
    return 0.5 + np.fft.ifft2(np.sqrt(spectrum) * np.fft.fft2(white)).real, spectrum


def wiener(y: Tensor, spectrum: NDArray[np.float64], variance: float) -> Tensor:
    filtered = np.fft.ifft2(spectrum / (spectrum + variance) * np.fft.fft2(y.numpy() - 0.5)).real
    return torch.from_numpy(0.5 + filtered).float()


def test_errors_of_wiener_filter_are_those_of_theory() -> None:
    """The filter for white noise of a variance v has the mean squared error mean(S v / (S + v))."""
    rng = np.random.default_rng(0)
    truth, spectrum = smooth(rng, 16)
    case = given(truth + LEVEL * rng.standard_normal(truth.shape), Identity(), GaussianNoise(LEVEL))
    split = split_measurements(case, seed=1)
    variance = LEVEL**2 * (1 + SHARE**2)
    first = wiener(split.case.y, spectrum, variance)
    assert isinstance(split.case.degradation.noise, GaussianNoise)
    assert split.case.degradation.noise.sigma == pytest.approx(variance**0.5)
    assert split.mean(first) == pytest.approx((spectrum * variance / (spectrum + variance)).mean(), rel=0.05)
    final = wiener(case.y, spectrum, LEVEL**2)
    tried = Tried.of(case, split, first, seconds=0)
    tried.rehearsed = (1e-3, 0.0)
    features = measure(case, split, tried, 0.0, Final(case, final, final, first))
    # The final restoration makes the estimate of the first one's error more certain.
    assert features.unbiased == pytest.approx((spectrum * variance / (spectrum + variance)).mean(), rel=0.03)
    assert features.uncertainty < tried.error_deviation


@pytest.mark.parametrize("noise", [GaussianNoise(LEVEL), PoissonNoise(100)])
def test_errors_of_identity_and_of_constant(noise: Noise) -> None:
    rng = np.random.default_rng(0)
    truth, _ = smooth(rng, 8)
    clean = truth.clip(0, 1)
    variance = LEVEL**2 if isinstance(noise, GaussianNoise) else float(clean.mean()) / 100
    y = clean + LEVEL * rng.standard_normal(clean.shape)
    if isinstance(noise, PoissonNoise):
        y = rng.poisson(100 * clean) / 100
    case = given(y, Identity(), noise)
    split = split_measurements(case, seed=2)
    assert split.mean(split.case.y) == pytest.approx(variance * (1 + SHARE**2), rel=0.1)
    constant = torch.full(case.shape, 0.5)
    assert split.mean(constant) == pytest.approx(np.square(clean - 0.5).mean(), rel=0.1)
    assert split.noise == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("kind", ["random", "impulses", "large pixels"])
def test_held_out_errors_equal_naive_loops(kind: str) -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.2, 0.8, (2, 3, 36, 36))
    operator: Operator = Identity()
    noise: Noise = GaussianNoise(0.0)
    if kind == "random":
        mask = rng.random((2, 1, 36, 36)) < 0.6
        truth, operator, noise = truth * mask, Mask(torch.from_numpy(mask).float()), GaussianNoise(LEVEL)
    elif kind == "impulses":
        hit = rng.random(truth.shape) < 0.2
        truth, noise = np.where(hit, rng.random(truth.shape) < 0.5, truth), SaltAndPepper(0.2)
    else:
        operator = BlockMean(2, (72, 72))
    case = given(truth, operator, noise, 72 if kind == "large pixels" else 36)
    split = split_measurements(case, seed=1)
    images = torch.from_numpy(rng.uniform(-0.2, 1.2, truth.shape)).float()
    total, count = 0.0, 0
    given_values, trial_values = case.y.numpy(), split.case.y.numpy()
    for index in np.ndindex(truth.shape):
        held_out = kind == "large pixels" or (given_values[index] != trial_values[index])
        if held_out:
            variance = LEVEL**2 if kind == "random" else 0.0
            total += float(min(max(images.numpy()[index], 0), 1) - given_values[index]) ** 2 - variance
            count += 1
    assert split.mean(images) == pytest.approx(total / count, rel=1e-4)
    assert split.blocks(images).sum().item() == pytest.approx(total / count, rel=1e-4)
    if kind == "impulses":
        assert 0.25 < np.isin(trial_values, (0, 1)).mean() < 0.31
    if kind == "large pixels":
        expected = truth.reshape(2, 3, 18, 2, 18, 2).mean((3, 5))
        np.testing.assert_allclose(trial_values, expected, atol=1e-6)


def test_holes_have_shapes_of_missing_ones() -> None:
    missing = np.zeros((2, 1, 80, 80), bool)
    missing[0, 0, 5:12, 10:40] = missing[0, 0, 40:70, 4:8] = True
    hidden = hide_like_missing(torch.from_numpy(~missing).float(), seed=0).numpy()
    assert not (hidden & missing).any()
    for each in hidden[:, 0]:
        labels, count = ndimage.label(each)
        sizes = [tuple(sorted(np.ptp(np.nonzero(labels == label), axis=1) + 1)) for label in range(1, count + 1)]
        assert sizes and set(sizes) <= {(7, 30), (4, 30)}


def test_hidden_pixels_are_single_where_missing_ones_are() -> None:
    known = np.random.default_rng(0).random((1, 1, 100, 100)) < 0.5
    hidden = hide_like_missing(torch.from_numpy(known).float(), seed=0).numpy()
    assert hidden.sum() == round(known.sum() / 10)
    assert not (hidden & ~known).any()
    assert ndimage.label(hidden[0, 0])[1] > 0.7 * hidden.sum()


@pytest.mark.parametrize("holes", ["all", "large", "one"])
def test_any_mask_has_pixels_to_hide(holes: str) -> None:
    known = np.ones((1, 1, 20, 20), bool)
    known[..., {"all": slice(0, 20), "large": slice(1, 19), "one": slice(4, 5)}[holes]] = False
    hidden = hide_like_missing(torch.from_numpy(known).float(), seed=0).numpy()
    assert not (hidden & ~known).any()
    assert hidden.any() == known.any()


def test_perturbed_adds_a_share_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    y = 0.5 + LEVEL * rng.standard_normal((1, 1, SIDE, SIDE))
    case = given(y, Identity(), GaussianNoise(LEVEL))
    more = perturbed(case, seed=1)
    assert (more.y - case.y).std().item() == pytest.approx(SHARE * LEVEL, rel=0.05)
    assert isinstance(more.degradation.noise, GaussianNoise)
    assert more.degradation.noise.sigma == pytest.approx(LEVEL * (1 + SHARE**2) ** 0.5)
    assert not torch.equal(perturbed(case, seed=2).y, more.y)
    assert torch.equal(perturbed(case, seed=1).y, more.y)
    known = rng.random(y.shape) < 0.7
    inpainted = perturbed(given(y * known, Mask(torch.from_numpy(known).float()), GaussianNoise(0.0)), seed=1)
    lost = known.sum() - inpainted.degradation.operator.measured(inpainted.y).sum().item()
    assert lost == pytest.approx(0.1 * known.sum(), rel=0.2)


def test_split_is_drawn_from_its_seed() -> None:
    case = given(np.full((1, 1, 40, 40), 0.5), Identity(), GaussianNoise(LEVEL))

    def drawn(seed: int) -> Split:
        return split_measurements(case, seed)

    assert torch.equal(drawn(1).case.y, drawn(1).case.y)
    assert not torch.equal(drawn(1).case.y, drawn(2).case.y)
