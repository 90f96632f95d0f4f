from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.methods.calibrated.stacking import STRENGTHS, _solve, stack, stack_means


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


@given(seed=st.integers(0, 2**31), strength=st.sampled_from(STRENGTHS))
@settings(max_examples=60, deadline=None)
def test_stacking_is_never_worse_than_best_candidate(seed: int, strength: float) -> None:
    errors = draw(seed, 4, 3, 50) * 10 ** draw(seed + 1, 4, 1, 1)
    weights = _solve(errors, torch.ones(3, 50), strength)
    own, together = errors.square().sum(2), errors.square().mean((1, 2))
    alone = own + strength * together[:, None]
    combined = torch.einsum("nk,knm->nm", weights, errors).square().sum(1)
    # What each image's weights would do to all images is a part of its score.
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


def test_stack_shares_evidence_among_images() -> None:
    """Alone, 8 values can't tell which is better; the images of a batch together can."""
    shape = (2, 60, 8)
    errors = draw(3, *shape) * torch.tensor([1.0, 1.3]).view(2, 1, 1)
    one_by_one = torch.cat([stack(errors[:, i : i + 1], torch.ones(1, 8)) for i in range(60)])
    together = stack(errors, torch.ones(60, 8))
    best = 1.3**2 / (1 + 1.3**2)
    assert (together[:, 0] - best).square().mean() < 0.1 * (one_by_one[:, 0] - best).square().mean()


def test_stack_trusts_candidate_per_image_in_mixed_batch() -> None:
    """The first candidate is right about the first images, and the second about the others."""
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
    """A hit is an error of one sign for all candidates, and large beside what tells them apart."""
    errors = 0.05 * draw(0, 2, 30, 60)
    errors[1] *= 3
    hit = draw(1, 30, 60) > 1.2
    # Where it is hit, the second candidate happens to be nearer.
    errors[:, hit] += torch.tensor([0.9, 0.4]).view(2, 1)
    weights = stack(errors, torch.ones(30, 60), robust=robust)
    assert (weights[:, 0].mean() > 0.5) == robust


def test_stack_means_suits_weights_to_mean_of_folds() -> None:
    """The first candidate is noisier than the second in each fold, and exact on the mean of many."""
    folds, images, values = 8, 12, 8000
    own = draw(0, folds, 1, images, values)
    lasting = 0.7 * draw(1, 1, 1, images, values)
    members = torch.cat([own, lasting.expand(folds, 1, images, values)], 1)
    where = torch.zeros(folds, images, values)
    for fold in range(folds):
        where[fold, :, fold::folds] = 1
    away = members - members.mean(0)
    scatter = torch.einsum("fknm,flnm->nkl", away, away) / (folds - 1) / values
    weights = stack_means(members * where[:, None], where, scatter)
    best = 0.7**2 / (0.7**2 + 1 / folds)  # precisions of independent errors
    torch.testing.assert_close(weights[:, 0], torch.full((images,), best), rtol=0, atol=0.1)
    assert (stack(members[0], torch.ones(images, values))[:, 0] < 0.5).all(), "of a single fold the second is better"
