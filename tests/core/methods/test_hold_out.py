from __future__ import annotations

import pytest
import torch

from dipddpm.core.config import parse_task
from dipddpm.core.degrade import BlockMean, CircularBlur, Identity, Mask, MaskedOperator, degrade
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.hold_out import hold_out
from tests.core.methods.cases import case, shapes

TRUTH = shapes(4, size=16)
HIDING = [
    "inpaint:missing=0.5,sigma=5",
    "denoise:noise=salt-and-pepper",
    "superres:noise=salt-and-pepper",
]
SPLITTING = ["denoise:sigma=25", "deblur:width=1,sigma=10", "denoise:noise=poisson,photons=40"]


@pytest.mark.parametrize("task", [*HIDING, *SPLITTING, "deblur"])
def test_hold_out_hides_values_from_trial(task: str) -> None:
    """Split noise hides no values: its two halves are independent although they come from the same values."""
    given = case(task, TRUTH)
    split = hold_out(given, 0.2, 0.5, seed=1)
    again = hold_out(given, 0.2, 0.5, seed=1)
    assert torch.equal(split.case.y, again.case.y)
    if task in SPLITTING:
        return
    mean = split.where.mean().item() if task != "deblur" else 0.2
    share = mean / given.degradation.operator.measured(given.y).mean().item()
    assert share == pytest.approx(0.2, abs=0.03)
    blurred = task == "deblur"
    hidden = split.hidden if blurred else given.degradation.operator.pinv(given.y * split.where)
    operator = split.case.degradation.operator
    torch.testing.assert_close(operator.A(hidden), torch.zeros_like(given.y), rtol=0, atol=1e-4)


@pytest.mark.parametrize("task", ["superres:factor=4", "deblur", "inpaint:missing=0.5"])
def test_split_errors_are_zero_for_truth_without_noise(task: str) -> None:
    split = hold_out(case(task, TRUTH), 0.2, 0.5, seed=1)
    errors = split.errors(torch.stack([TRUTH, TRUTH + 0.3 * torch.rand(TRUTH.shape)]))
    assert errors[0].abs().max() < 5e-3
    assert errors[1].square().mean() > 1e-5
    operator = split.case.degradation.operator
    torch.testing.assert_close(operator.A(TRUTH), split.case.y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [16, 18])
def test_hold_out_uses_larger_blocks_in_trial(size: int) -> None:
    truth = shapes(4, size=size)
    split = hold_out(case("superres:factor=2", truth), 0.2, 0.5, seed=1)
    larger = split.case.degradation.operator
    assert isinstance(larger, BlockMean) and larger.factor == 4
    torch.testing.assert_close(split.case.y, larger.A(truth), rtol=0, atol=1e-6)
    inside = truth - larger.pinv(larger.A(truth))
    errors = split.errors(torch.stack([truth, truth - inside]))
    assert errors[0].abs().max() < 1e-6
    assert errors[1].square().mean() > 1e-3
    assert split.is_coarser
    noisy = hold_out(case("superres:factor=2,sigma=8", truth), 0.2, 0.5, seed=1).case
    variance = noisy.degradation.expected_residual(noisy.y)
    assert variance is not None
    if size == 16:
        assert (noisy.y - larger.A(truth)).square().mean().item() == pytest.approx(variance.mean().item(), rel=0.3)


@pytest.mark.parametrize("task", SPLITTING[:2])
def test_split_noise_is_independent_and_unbiased(task: str) -> None:
    """The mean square error at the held-out half is the image's error plus the half's own noise.

    So a candidate gains nothing by fitting the noise of the other half.
    """
    x = shapes(1, size=16).expand(3000, -1, -1, -1)
    y, degradation = degrade(parse_task(task), x, range(3000))
    given, share = Case(y, degradation, (3000, 1, 16, 16)), 0.5
    split = hold_out(given, 0.2, share, seed=3)
    first, second = split.case.y - degradation.operator.A(x), split.hidden - split.predict(x)
    variance = degradation.expected_residual(y)
    assert variance is not None
    blurred = isinstance(degradation.operator, CircularBlur)
    level, hidden_level = variance[0].item(), second.square().mean().item()
    assert first.square().mean().item() == pytest.approx(level * (1 + share**2), rel=0.02)
    if not blurred:
        assert hidden_level == pytest.approx(level * (1 + 1 / share**2), rel=0.02)
    assert abs((first * second).mean().item()) < 0.02 * (level * hidden_level) ** 0.5
    # Two estimates: the first one contains all the noise of the trial's half, the second one contains none.
    for estimate in (split.case.degradation.operator.pinv(split.case.y).clamp(-1, 2), x * 0 + 0.3):
        errors = split.errors(estimate[None])
        true = (split.predict(estimate) - split.predict(x)).square().mean().item()
        assert errors.square().mean().item() - hidden_level == pytest.approx(true, rel=0.02, abs=0.02 * hidden_level)


@pytest.mark.parametrize("task", HIDING)
def test_folds_hide_each_value_at_most_once(task: str) -> None:
    given = case(task, TRUTH)
    measured = given.degradation.operator.measured(given.y)
    split = hold_out(given, 0.2, 0.5, seed=1, folds=3)
    hidden = split.where.view(3, *given.y.shape)
    assert (hidden.sum(0) <= measured).all()
    torch.testing.assert_close(hidden.sum((1, 2, 3, 4)) / measured.sum(), torch.full((3,), 0.2), rtol=0, atol=0.02)
    remaining = split.case.degradation.operator.measured(split.case.y).view_as(hidden)
    assert torch.equal(remaining + hidden, measured.expand_as(hidden))
    assert torch.equal(split.case.y.view_as(hidden), given.y * remaining)


@pytest.mark.parametrize("folds", [2, 3])
def test_noise_of_folds_cancels_in_their_mean(folds: int) -> None:
    """Each fold's noise has the full variance all the same."""
    given = case("denoise:sigma=25", shapes(40, size=16))
    y = hold_out(given, 0.2, 0.5, seed=1, folds=folds).case.y.view(folds, *given.y.shape)
    torch.testing.assert_close(y.mean(0), given.y)
    added = (y - given.y).square().mean((1, 2, 3, 4)).sqrt() * 255
    torch.testing.assert_close(added, torch.full((folds,), 12.5), rtol=0.02, atol=0)


def test_hold_out_refuses_more_values_than_there_are() -> None:
    with pytest.raises(ValueError, match="more than there are"):
        hold_out(case(HIDING[0], TRUTH), 0.4, 0.5, seed=1, folds=3)


@pytest.mark.parametrize("whole", [Identity(), Mask((torch.rand(3, 1, 9, 8) > 0.3).float()), BlockMean(2, (9, 8))])
def test_masked_operator_matches_explicit_matrix(whole: Identity | Mask | BlockMean) -> None:
    """Compare every operation of the masked operator with its explicit matrix, image by image."""
    x = torch.rand(3, 2, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if isinstance(whole, Mask):
        whole.mask = whole.mask.double()
    y = whole.A(x)
    mask = (torch.rand(y.shape[0], 1, *y.shape[2:], generator=torch.Generator().manual_seed(1)) > 0.4).double()
    operator = MaskedOperator(whole, mask.expand_as(y))
    for index in range(3):
        one = operator.select([index])
        basis = torch.eye(144, dtype=torch.float64).view(144, 2, 9, 8)
        matrix = torch.stack([one.A(e[None]).flatten() for e in basis], 1)
        inverse = torch.linalg.pinv(matrix)
        v = torch.rand(1, 2, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        w = torch.rand(y[:1].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(one.adjoint(w).flatten(), matrix.T @ w.flatten())
        torch.testing.assert_close(one.pinv(w).flatten(), inverse @ w.flatten())
        left = matrix.T @ matrix + 0.3 * torch.eye(144)
        near = torch.linalg.solve(left.double(), matrix.T @ w.flatten() + 0.3 * v.flatten())
        torch.testing.assert_close(one.prox(v, w, 0.3).flatten(), near)
        values, vectors = torch.linalg.eigh(matrix.T @ matrix)
        gained = vectors @ ((2 + values.clamp(min=0).sqrt()) * (vectors.T @ v.flatten()))
        torch.testing.assert_close(one.spectral_filter(v, lambda s: 2 + s).flatten(), gained, rtol=1e-6, atol=1e-6)
        assert torch.equal(one.measured(w), whole.measured(y)[[index]] * mask[[index]])
