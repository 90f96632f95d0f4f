from __future__ import annotations

import torch

from dipddpm.core.degrade import Degradation, GaussianNoise, Identity, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import without_impulses
from dipddpm.core.methods.hold_out import hold_out
from tests.core.methods.cases import case, shapes

TRUTH = shapes(3, size=28) * 0.6 + 0.2


def test_without_impulses_preserves_gaussian_noise() -> None:
    given = Case(TRUTH, Degradation(Identity(), SaltAndPepper(0.1, sigma=0.05)), (*TRUTH.shape,))
    noise = without_impulses(given, TRUTH).degradation.noise
    assert isinstance(noise, GaussianNoise)
    assert noise.sigma == 0.05


def test_without_impulses_masks_impulses_and_leaves_exact_pixels() -> None:
    given = case("denoise:noise=salt-and-pepper,hit=0.3", TRUTH)
    simplified = without_impulses(given, TRUTH + 0.02)
    operator = simplified.degradation.operator
    assert isinstance(operator, Mask) and isinstance(simplified.degradation.noise, GaussianNoise)
    assert simplified.degradation.expected_residual(simplified.y) is None
    assert torch.equal((given.y != TRUTH) & (operator.mask > 0), torch.zeros_like(TRUTH) > 0)
    assert torch.equal(simplified.y, TRUTH * operator.mask)
    assert operator.mask.mean().item() > 0.68


def test_without_impulses_leaves_truly_black_pixels() -> None:
    dark = TRUTH.clone()
    dark[:, :, :10] = 0
    simplified = without_impulses(case("denoise:noise=salt-and-pepper,hit=0.2", dark), dark)
    operator = simplified.degradation.operator
    assert isinstance(operator, Mask)
    assert operator.mask[:, :, :10].mean() > 0.85
    assert torch.equal(simplified.y, dark * operator.mask)


def test_without_impulses_keeps_missing_and_held_out_pixels_masked() -> None:
    given = case("inpaint:missing=0.5,noise=salt-and-pepper", TRUTH)
    split = hold_out(given, 0.2, 0.5, seed=0)
    simplified = without_impulses(split.case, TRUTH)
    operator = simplified.degradation.operator
    assert isinstance(operator, Mask)
    assert (operator.mask * split.where).sum() == 0
    assert (operator.mask * (1 - given.degradation.operator.measured(given.y))).sum() == 0


def test_without_impulses_leaves_other_noise_unchanged() -> None:
    for task in ("denoise", "superres:noise=salt-and-pepper"):
        given = case(task, TRUTH)
        assert without_impulses(given, TRUTH) is given
