"""DIP with the hybrid's tricks, and DIP that allows for impulses without detecting them."""

from __future__ import annotations

import msgspec
import pytest
import torch

from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, Mask
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods import equal_tricks
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.equal_tricks import equal_ddpm, equal_dip
from dipddpm.core.methods.robust_dip import RATE, RobustDipRestorer, SparseErrors
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

X0 = shapes(2) + 0.1  # black and white pixels differ by more than the tolerance
IMPULSES = "denoise:noise=salt-and-pepper,hit=0.2"


def run(restorer: Restorer) -> torch.Tensor:
    for _ in restorer:
        pass
    return restorer.images


def test_equal_methods_treat_impulses_as_missing_pixels() -> None:
    given, prior = case(IMPULSES, X0), ideal_prior(X0)
    # All impulses are detected here, so the mask is where the measurement was not hit.
    mask = (given.y == X0).float()
    noiseless = Case(given.y * mask, Degradation(Mask(mask), GaussianNoise(0.0)), given.shape, given.seed)
    for made, plain in (
        (equal_dip(given, SMALL), DipRestorer(noiseless, SMALL)),
        (equal_ddpm(given, prior), DdpmRestorer(noiseless, prior)),
    ):
        torch.testing.assert_close(run(made), given.y * mask + (1 - mask) * run(plain))


@pytest.mark.parametrize("blind", [False, True])
def test_equal_dip_fits_equalized_spectrum(blind: bool) -> None:
    given = case(f"deblur:width=1,sigma=4,blind={str(blind).lower()}", X0)
    restorer = equal_dip(given, SMALL).restorer
    assert isinstance(restorer, DipRestorer)
    fitted, operator = restorer.case, given.degradation.operator
    assert isinstance(fitted.degradation.operator, CircularBlur) and isinstance(operator, CircularBlur)
    assert fitted.degradation.operator.transfer.abs().mean() > operator.transfer.abs().mean()
    assert fitted.degradation.expected_residual(fitted.y) is not None


@pytest.mark.parametrize("task", [IMPULSES, "deblur:width=1,sigma=4"])
def test_equal_dip_resumes_exactly(task: str) -> None:
    assert_resumes_exactly(lambda: equal_dip(case(task, X0), SMALL, 2), [1, 23, 24, 25, 40])


def test_equal_ddpm_resumes_exactly() -> None:
    assert_resumes_exactly(lambda: equal_ddpm(case(IMPULSES, X0), ideal_prior(X0), 2), [1, 50, 99, 100])


def test_equal_dip_has_short_fits() -> None:
    long = msgspec.structs.replace(SMALL, iterations=1000)
    assert len(equal_dip(case("deblur", X0), long, 3)) == 3 * equal_tricks.ITERATIONS


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
