from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from dipddpm.core.methods.calibrated import stacking
from dipddpm.core.methods.calibrated.stacking import simplex_weights, stack


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 5),
    images=st.integers(1, 4),
    values=st.integers(4, 40),
    folds=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_stack_weights_lie_on_simplex(seed: int, count: int, images: int, values: int, folds: int) -> None:
    errors = draw(seed, count, folds * images, values) * 10 ** draw(seed + 1, count, 1, 1)
    weights = stack(errors, torch.ones(folds * images, values), folds)
    assert weights.shape == (images, count)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(images))


@given(seed=st.integers(0, 2**31), count=st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_simplex_weights_match_numeric_optimum(seed: int, count: int) -> None:
    """Compare with SLSQP from SciPy, with the same ridge."""
    errors = draw(seed, count, 30).double() * 10 ** (0.5 * draw(seed + 1, count, 1).double())
    gram = errors @ errors.T
    ridge = stacking.RIDGE * float(gram.diagonal().mean() - gram.mean())
    weights = simplex_weights(gram[None])[0].numpy()
    regular = gram.numpy() + ridge * np.eye(count)
    best = minimize(
        lambda w: w @ regular @ w / regular.max(),
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert weights @ regular @ weights <= best.x @ regular @ best.x * (1 + 1e-6)


@given(seed=st.integers(0, 2**31), shared=st.floats(0, 1e4))
@settings(max_examples=30, deadline=None)
def test_error_that_all_share_does_not_change_weights(seed: int, shared: float) -> None:
    """The noise of the held-out values is the same for all candidates."""
    errors = draw(seed, 4, 60).double()
    gram = (errors @ errors.T)[None]
    torch.testing.assert_close(simplex_weights(gram + shared), simplex_weights(gram), rtol=0, atol=1e-4)


def test_stack_weighs_independent_errors_by_precision() -> None:
    deviation = torch.tensor([1.0, 2.0, 4.0])
    errors = draw(0, 3, 2, 200_000) * deviation.view(3, 1, 1)
    expected = deviation**-2 / (deviation**-2).sum()
    torch.testing.assert_close(stack(errors, torch.ones(2, 200_000), 1), expected.expand(2, 3), rtol=0, atol=0.02)


def test_stack_counts_each_fold_for_its_image() -> None:
    """The rows are ordered by fold: two folds of three images."""
    errors = draw(0, 2, 6, 5000)
    errors[0, [0, 3]] *= 0.1
    errors[1, [1, 4]] *= 0.1
    weights = stack(errors, torch.ones(6, 5000), 2)
    assert weights[0, 0] > 0.85 and weights[1, 1] > 0.85
    assert weights[2, 0].item() == pytest.approx(0.5, abs=0.15)


def test_stack_ignores_candidate_that_adds_nothing() -> None:
    truth = draw(0, 6, 100)
    weights = stack(torch.stack([0.1 * draw(1, 6, 100), truth]), torch.ones(6, 100), 1)
    assert (weights[:, 1] < 0.1).all()
    assert weights[:, 1].mean() < 0.03


def test_stack_pools_evidence_over_images() -> None:
    """The 8 values of one image can't tell which candidate is better; the values of all images can."""
    errors = draw(3, 2, 60, 8) * torch.tensor([1.0, 1.3]).view(2, 1, 1)
    one_by_one = torch.cat([stack(errors[:, i : i + 1], torch.ones(1, 8), 1) for i in range(60)])
    together = stack(errors, torch.ones(60, 8), 1)
    best = 1.3**2 / (1 + 1.3**2)
    assert (together[:, 0] - best).square().mean() < 0.1 * (one_by_one[:, 0] - best).square().mean()


def test_hard_image_does_not_decide_for_others() -> None:
    """Without relative pooling, the first image's errors, a hundred times larger, would outvote all others."""
    errors = draw(0, 2, 20, 30)
    errors[0] *= 0.3
    errors[:, 0] = 100 * draw(1, 2, 30) * torch.tensor([1.0, 0.1]).view(2, 1)
    assert (stack(errors, torch.ones(20, 30), 1)[1:, 0] > 0.8).all()


def test_stack_trusts_candidate_per_image_in_mixed_batch() -> None:
    errors = draw(0, 2, 10, 4000)
    errors[0, :5] *= 0.1
    errors[1, 5:] *= 0.1
    weights = stack(errors, torch.ones(10, 4000), 1)
    assert (weights[:5, 0] > 0.8).all()
    assert (weights[5:, 1] > 0.8).all()


def test_stack_ignores_values_outside_mask() -> None:
    errors, where = draw(0, 3, 4, 60), torch.ones(4, 60)
    where[:, 40:] = 0
    spoiled = errors.clone()
    spoiled[0, :, 40:] = 1e3
    torch.testing.assert_close(stack(spoiled, where, 1), stack(errors, where, 1))
