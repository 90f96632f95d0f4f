"""DIP with the hybrid's tricks, and DIP that allows for impulses without detecting them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch

from dipddpm.core.compute.rng import derive
from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, Mask
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods import equal_tricks
from dipddpm.core.methods.budget import TimeBudget
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.equal_tricks import EqualDipRestorer
from dipddpm.core.methods.robust_dip import RATE, RobustDipRestorer, SparseErrors
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, shapes

X0 = shapes(2) + 0.1  # black and white pixels differ by more than the tolerance
IMPULSES = "denoise:noise=salt-and-pepper,hit=0.2"


def test_equal_dip_fits_what_is_left_without_impulses() -> None:
    given = case(IMPULSES, X0)
    restorer = EqualDipRestorer(given, SMALL, estimate=X0)
    for _ in restorer:
        pass
    # With the truth as the estimate, the mask is where the measurement was hit.
    mask = (given.y == X0).float()
    noiseless = Case(given.y * mask, Degradation(Mask(mask), GaussianNoise(0.0)), given.shape, given.seed)
    expected = DipRestorer(noiseless, SMALL)
    for _ in expected:
        pass
    torch.testing.assert_close(restorer.images, expected.images)


def test_equal_dip_takes_first_fit_as_estimate_only() -> None:
    given = case(IMPULSES, X0)
    first = DipRestorer(given, SMALL)
    for _ in first:
        pass
    whole, later = EqualDipRestorer(given, SMALL), EqualDipRestorer(given, SMALL, estimate=first.images)
    for _ in (*whole, *later):
        pass
    assert torch.equal(whole.images, later.images)
    assert whole.iterations == first.iterations + later.iterations


@pytest.mark.parametrize("blind", [False, True])
def test_equal_dip_fits_equalized_spectrum(blind: bool) -> None:
    given = case(f"deblur:width=1,sigma=4,blind={str(blind).lower()}", X0)
    restorer = EqualDipRestorer(given, SMALL)
    assert restorer.fits
    fitted = restorer.fits.case
    assert isinstance(fitted.degradation.operator, CircularBlur)
    assert fitted.degradation.operator.transfer.abs().mean() > given.degradation.operator.transfer.abs().mean()  # type: ignore[attr-defined]
    assert fitted.degradation.expected_residual(fitted.y) is not None
    assert restorer.first is None


@pytest.mark.parametrize("task", [IMPULSES, "deblur:width=1,sigma=4"])
def test_equal_dip_resumes_exactly(task: str) -> None:
    assert_resumes_exactly(lambda: EqualDipRestorer(case(task, X0), SMALL, restarts=2), [1, 23, 24, 25, 40])


def test_equal_dip_has_short_fits() -> None:
    long = msgspec.structs.replace(SMALL, iterations=1000)
    assert len(EqualDipRestorer(case("deblur", X0), long, restarts=3)) == 3 * equal_tricks.ITERATIONS


def test_time_budget_passes_mean_so_far_to_later_runs() -> None:
    given = case(IMPULSES, X0)
    short = msgspec.structs.replace(SMALL, iterations=3)
    ticks = iter(range(10_000))
    estimates = []

    def refine(count: int, seed: int, mean: torch.Tensor) -> EqualDipRestorer:
        estimates.append(mean)
        return EqualDipRestorer(replace(given, seed=seed), short, restarts=count, estimate=mean)

    budget = TimeBudget(
        lambda count, seed: EqualDipRestorer(replace(given, seed=seed), short, restarts=count),
        [60.0],
        seed=1,
        clock=lambda: float(next(ticks)),
        refine=refine,
    )
    for _ in budget:
        pass
    first = EqualDipRestorer(replace(given, seed=derive(budget.seed, "round 0")), short)
    for _ in first:
        pass
    assert len(estimates) > 1
    assert torch.equal(estimates[0], first.images)


def test_sparse_errors_follow_gradient_descent_and_complete_the_loss() -> None:
    given = case(IMPULSES, X0)
    restorer = RobustDipRestorer(given, SMALL)
    (batch,), (errors,) = restorer.fit.batches, restorer.attached
    assert isinstance(errors, SparseErrors)
    outputs, indices = torch.rand_like(X0).requires_grad_(), torch.arange(2)
    g, h = errors.g.clone().requires_grad_(), errors.h.clone().requires_grad_()
    penalty = errors(outputs, indices)
    plain = (outputs - given.y).square().flatten(1).mean(1)
    loss = (outputs + g.square() - h.square() - given.y).square().flatten(1).sum(1)
    torch.testing.assert_close(plain + penalty, loss / given.y[0].numel())
    loss.sum().backward()
    assert g.grad is not None and h.grad is not None
    torch.testing.assert_close(errors.g, g.detach() - RATE * g.grad)
    torch.testing.assert_close(errors.h, h.detach() - RATE * h.grad)
    assert batch.power == 2


def test_robust_dip_resumes_exactly() -> None:
    assert_resumes_exactly(lambda: RobustDipRestorer(case(IMPULSES, X0), SMALL), [1, 11, 20])
