"""Learned extrapolation: least squares against numpy, no change without learning, gain on other images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from dipddpm.core.config import DdpmConfig
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import METHODS, Problem, Restoration
from dipddpm.core.ddpm.posterior.consistent import DataConsistent
from dipddpm.core.ddpm.posterior.extrapolation import Extrapolated, learn_extrapolation, least_squares
from dipddpm.core.ddpm.schedule import Schedule
from tests.core.ddpm.ideal import Finite
from tests.core.methods.cases import case, shapes

SCHEDULE = Schedule.from_config(DdpmConfig())
IMAGES = shapes(24, seed=5)


def denoiser() -> Denoiser:
    return Denoiser(Finite(SCHEDULE, 2 * IMAGES - 1), SCHEDULE, objective="v")


def sampler(name: str, problem: Problem) -> DataConsistent:
    solver = METHODS[name](problem)
    assert isinstance(solver, DataConsistent)
    return solver


def restored(name: str, truth: Tensor, steps: int, change: Callable[[DataConsistent], DataConsistent]) -> Restoration:
    given = case("inpaint:missing=0.7,sigma=5", truth)
    made = Restoration(name, denoiser(), given.y, given.degradation, given.shape, steps=steps, seed=1)
    assert isinstance(made.solver, DataConsistent)
    made.solver = change(made.solver)
    return made


def test_least_squares_equals_numpys() -> None:
    generator = torch.Generator().manual_seed(0)
    terms = [torch.randn(3, 1, 5, 5, generator=generator) for _ in range(4)]
    truth = torch.randn(3, 1, 5, 5, generator=generator)
    found = least_squares(terms, truth, present=(0, 2))
    x = np.stack([term.flatten().numpy() for term in terms], 1)
    expected = np.linalg.lstsq(x, truth.flatten().numpy(), rcond=None)[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


def test_least_squares_keeps_the_present_estimate_where_terms_are_equal() -> None:
    term = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = least_squares([term, term], term, present=(0,))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0], dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["ddnm", "diffpir"])
def test_coefficients_of_the_present_estimate_alone_change_nothing(name: str) -> None:
    plain = restored(name, IMAGES[:4], 4, lambda solver: solver)
    present = [torch.eye(2 * n, dtype=torch.float64)[[0, n]].sum(0) for n in (1, 2, 3, 4)]
    same = restored(name, IMAGES[:4], 4, lambda solver: Extrapolated(solver, present))
    list(plain), list(same)
    torch.testing.assert_close(same.images, plain.images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["ddnm", "diffpir"])
def test_extrapolation_gains_on_other_images_in_few_steps(name: str) -> None:
    training = case("inpaint:missing=0.7,sigma=5", IMAGES[:12], seed=2)
    coefficients = learn_extrapolation(
        partial(sampler, name), denoiser(), IMAGES[:12], (training.y, training.degradation), steps=3, seed=3
    )
    assert [len(each) for each in coefficients] == [2, 4, 6]
    plain = restored(name, IMAGES[12:], 3, lambda solver: solver)
    better = restored(name, IMAGES[12:], 3, lambda solver: Extrapolated(solver, coefficients))
    list(plain), list(better)
    errors = [(each.images - IMAGES[12:]).square().mean().item() for each in (plain, better)]
    assert errors[1] < 0.97 * errors[0]


def test_extrapolation_resumes_exactly() -> None:
    coefficients = [torch.linspace(0.1, 0.6, 2 * min(n, 6), dtype=torch.float64) for n in range(1, 9)]
    whole = restored("ddnm", IMAGES[:2], 8, lambda solver: Extrapolated(solver, coefficients))
    list(whole)
    first = restored("ddnm", IMAGES[:2], 8, lambda solver: Extrapolated(solver, coefficients))
    items = iter(first)
    for _ in range(7):
        next(items)
    second = restored("ddnm", IMAGES[:2], 8, lambda solver: Extrapolated(solver, coefficients))
    second.load_state_dict(first.state_dict())
    list(second)
    assert torch.equal(second.images, whole.images)
