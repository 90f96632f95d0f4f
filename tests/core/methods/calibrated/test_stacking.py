from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.methods.calibrated.stacking import POOLING_STRENGTHS, _image_weights, stack, stack_means


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 2**31), count=st.integers(1, 5), images=st.integers(1, 4), values=st.integers(4, 40),
    robust=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_stack_weights_lie_on_simplex(seed: int, count: int, images: int, values: int, robust: bool) -> None:
    errors = draw(seed, count, images, values) * 10 ** draw(seed + 1, count, 1, 1)
    weights = stack(errors, torch.ones(images, values), robust=robust)
    assert weights.shape == (images, count)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(images))


@given(seed=st.integers(0, 2**31), strength=st.sampled_from(POOLING_STRENGTHS))
@settings(max_examples=60, deadline=None)
def test_stacking_is_never_worse_than_best_candidate(seed: int, strength: float) -> None:
    errors = draw(seed, 4, 3, 50) * 10 ** draw(seed + 1, 4, 1, 1)
    weights = _image_weights(errors, torch.ones(3, 50), strength)
    own, pooled = errors.square().sum(2), errors.square().mean((1, 2))
    alone = own + strength * pooled[:, None]
    combined = torch.einsum("nk,knm->nm", weights, errors).square().sum(1)
    # Each image's score includes the error that its weights would have on all images.
    on_all = torch.einsum("nk,kim->nim", weights, errors).square().mean((1, 2))
    assert (combined + strength * on_all <= alone.min(0).values * (1 + 1e-4)).all()


def test_stack_weighs_independent_errors_by_precision() -> None:
    deviation = torch.tensor([1.0, 2.0, 4.0])
    errors = draw(0, 3, 2, 200_000) * deviation.view(3, 1, 1)
    expected = deviation**-2 / (deviation**-2).sum()
    torch.testing.assert_close(stack(errors, torch.ones(2, 200_000)), expected.expand(2, 3), rtol=0, atol=0.01)


def test_stack_ignores_candidate_that_adds_nothing() -> None:
    truth = draw(0, 6, 100)
    errors = torch.stack([0.1 * draw(1, 6, 100), truth])
    weights = stack(errors, torch.ones(6, 100))
    assert (weights[:, 1] < 0.1).all()
    assert weights[:, 1].mean() < 0.02


def test_stack_pools_evidence_over_images() -> None:
    """The 8 values of one image can't tell which candidate is better; the values of all images can."""
    shape = (2, 60, 8)
    errors = draw(3, *shape) * torch.tensor([1.0, 1.3]).view(2, 1, 1)
    one_by_one = torch.cat([stack(errors[:, i : i + 1], torch.ones(1, 8)) for i in range(60)])
    together = stack(errors, torch.ones(60, 8))
    best = 1.3**2 / (1 + 1.3**2)
    assert (together[:, 0] - best).square().mean() < 0.1 * (one_by_one[:, 0] - best).square().mean()


def test_stack_trusts_candidate_per_image_in_mixed_batch() -> None:
    """The first candidate is better on the first images, the second candidate on the other images."""
    errors = draw(0, 2, 10, 40)
    errors[0, :5] *= 0.1
    errors[1, 5:] *= 0.1
    weights = stack(errors, torch.ones(10, 40))
    assert (weights[:5, 0] > 0.9).all()
    assert (weights[5:, 1] > 0.9).all()


def test_stack_ignores_values_outside_mask() -> None:
    errors, where = draw(0, 3, 4, 60), torch.ones(4, 60)
    where[:, 40:] = 0
    spoiled = errors.clone()
    spoiled[0, :, 40:] = 1e3
    torch.testing.assert_close(stack(spoiled, where), stack(errors, where))


@pytest.mark.parametrize("robust", [False, True])
def test_robust_stack_resists_impulses(robust: bool) -> None:
    """An impulse adds an error of the same sign to all candidates, much larger than their differences."""
    errors = 0.05 * draw(0, 2, 30, 60)
    errors[1] *= 3
    hit = draw(1, 30, 60) > 1.2
    # At the impulses, the second candidate happens to be closer.
    errors[:, hit] += torch.tensor([0.9, 0.4]).view(2, 1)
    weights = stack(errors, torch.ones(30, 60), robust=robust)
    assert (weights[:, 0].mean() > 0.5) == robust


def test_stack_means_weights_suit_mean_over_folds() -> None:
    """The first candidate is noisier than the second in each fold, but better on the mean over the folds."""
    folds, images, values = 8, 12, 8000
    independent = draw(0, folds, 1, images, values)
    common = 0.7 * draw(1, 1, 1, images, values)
    candidates = torch.cat([independent, common.expand(folds, 1, images, values)], 1)
    where = torch.zeros(folds, images, values)
    for fold in range(folds):
        where[fold, :, fold::folds] = 1
    deviations = candidates - candidates.mean(0)
    scatter = torch.einsum("fknm,flnm->nkl", deviations, deviations) / (folds - 1) / values
    weights = stack_means(candidates * where[:, None], where, scatter)
    best = 0.7**2 / (0.7**2 + 1 / folds)  # precisions of independent errors
    torch.testing.assert_close(weights[:, 0], torch.full((images,), best), rtol=0, atol=0.1)
    single = stack(candidates[0], torch.ones(images, values))
    assert (single[:, 0] < 0.5).all(), "in a single fold, the second candidate is better"
