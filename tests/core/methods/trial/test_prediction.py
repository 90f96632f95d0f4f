"""Test predictions against densities in closed form, clipped noise against draws, and the shipped models."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import gaussian_kernel
from dipddpm.core.methods.trial.clipping import (
    clipped_sigma,
    clipped_variance,
    clipping_corrected,
    correction_slope,
    without_clipping,
)
from dipddpm.core.methods.trial.features import Features
from dipddpm.core.methods.trial.prediction import Model, models, predict
from dipddpm.core.methods.trial.rehearsal import Rehearsal

MODEL = Model(intercept=-1.0, weights={"base": 1.0}, methods={"nlm": 2.0}, deviations={"": 1.5, "nlm": 0.5}, scale=2.0)
KNOWN = torch.ones(1, 1, 64, 64)


def test_model_alone_predicts_a_normal_density() -> None:
    prediction = MODEL.predict(Features("denoise", {"base": -30.0, "unknown": 5.0}), "tv")
    assert prediction.psnr == pytest.approx(31, abs=0.01)
    assert (prediction.lower, prediction.upper) == pytest.approx((31 - 2 * 1.645 * 1.5, 31 + 2 * 1.645 * 1.5), abs=0.05)
    assert MODEL.predict(Features("denoise", {"base": -30.0}), "nlm").psnr == pytest.approx(29, abs=0.01)


def test_certain_unbiased_estimate_decides_the_prediction() -> None:
    features = Features("denoise", {"base": -30.0}, unbiased=1.3e-3, uncertainty=1e-5)
    prediction = MODEL.predict(features, "tv")
    assert prediction.psnr == pytest.approx(-10 * math.log10(1.3e-3), abs=0.02)
    assert 0.05 < prediction.upper - prediction.lower < 0.3
    vague = MODEL.predict(Features("denoise", {"base": -30.0}, unbiased=-2e-3, uncertainty=1.0), "tv")
    assert vague.psnr == pytest.approx(31, abs=0.05)


def test_shipped_models_predict_every_kind() -> None:
    assert set(models()) >= {
        kind + stage for kind in ("denoise", "inpaint", "superres", "deblur") for stage in ("", " trial")
    }
    for kind in ("denoise", "inpaint", "superres", "deblur"):
        prediction = predict(Features(kind, {"base": -30.0}), "nlm", final=True)
        assert prediction is not None
        assert prediction.lower < prediction.psnr < prediction.upper
    assert predict(Features("", {}), "nlm", final=True) is None


@pytest.mark.parametrize("sigma", [0.02, 0.3])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.9])
def test_clipped_noise_has_moments_of_draws(sigma: float, value: float) -> None:
    drawn = (value + sigma * np.random.default_rng(0).standard_normal(200_000)).clip(0, 1)
    mean = torch.tensor([drawn.mean()])
    assert clipped_variance(mean, sigma).item() == pytest.approx(drawn.var(), rel=0.02)
    assert without_clipping(mean, sigma).item() == pytest.approx(value, abs=0.01 * sigma + 1e-4)


def test_measurements_are_clipped_where_many_end_at_black() -> None:
    y = 0.02 + 0.1 * torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    degradation = Degradation(Identity(), GaussianNoise(0.1))
    assert clipped_sigma(Case(y, degradation, (1, 1, 40, 40))) == 0
    assert clipped_sigma(Case(y.clamp(0, 1), degradation, (1, 1, 40, 40))) == 0.1


def test_correction_of_clipping_undoes_means_of_draws_and_stretches_errors() -> None:
    noise = 0.2 * np.random.default_rng(0).standard_normal(400_000)
    dark, less, more = (torch.full((1, 1, 8, 8), float((x + noise).clip(0, 1).mean())) for x in (0.1, 0.08, 0.12))
    y = torch.from_numpy((0.1 + noise[:64]).clip(0, 1).reshape(1, 1, 8, 8)).float()
    case = Case(y, Degradation(Identity(), GaussianNoise(0.2)), (1, 1, 8, 8))
    assert clipping_corrected(dark, case)[0, 0, 0, 0].item() == pytest.approx(0.1, abs=3e-3)
    change = (more - less)[0, 0, 0, 0].item()
    assert correction_slope(dark, case, change / 2)[0, 0, 0, 0].item() == pytest.approx(0.04 / change, rel=0.03)
    weak = Case(y, Degradation(Identity(), GaussianNoise(0.02)), (1, 1, 8, 8))
    assert clipping_corrected(dark, weak) is dark
    assert correction_slope(dark, weak, 0.05)[0, 0, 0, 0].item() == pytest.approx(1)


def test_rehearsal_halves_the_picture_and_damages_it_in_the_same_way() -> None:
    rng = np.random.default_rng(0)
    picture = rng.random((1, 1, 64, 64))
    images = torch.from_numpy(picture).float()
    half = picture.reshape(1, 1, 32, 2, 32, 2).mean((3, 5))
    blur = CircularBlur(gaussian_kernel(1.2), (64, 64))
    rehearsal = Rehearsal.of(Case(images, Degradation(blur, GaussianNoise(1e-6)), (1, 1, 64, 64)), images)
    assert rehearsal is not None
    np.testing.assert_allclose(rehearsal.truth.numpy(), half, atol=1e-6)
    blurred = ndimage.gaussian_filter(half[0, 0], 1.2, mode="wrap", truncate=4)
    np.testing.assert_allclose(rehearsal.case.y[0, 0].numpy(), blurred, atol=1e-3)
    known, missing = rehearsal.errors(rehearsal.truth + 0.0)
    assert known == missing == 0


@pytest.mark.parametrize(
    ("operator", "sigma", "rehearsed"),
    [
        (Identity(), 0.1, True),
        (Mask(torch.ones(1, 1, 64, 64)), 0.0, False),
        (Mask(torch.ones(1, 1, 64, 64)), 0.1, True),
    ],
)
def test_only_noisy_pictures_are_rehearsed(operator: Operator, sigma: float, *, rehearsed: bool) -> None:
    images = torch.full((1, 1, 64, 64), 0.5)
    case = Case(images, Degradation(operator, GaussianNoise(sigma)), (1, 1, 64, 64))
    assert (Rehearsal.of(case, images) is not None) == rehearsed
