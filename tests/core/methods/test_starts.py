"""Starts: their noise level against a naive formula, their cost for each sampler, exact resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import Stopwatch
from dipddpm.core.methods.chains import Chains
from dipddpm.core.methods.starts import Start, StartedRestorer, classic_for, noise_levels, roughness, start_restorer
from tests.core.methods.cases import SMALL, assert_resumes_exactly, case, ideal_prior, shapes

TRUTH = shapes(3)


def naive_roughness(given: Case, image: int) -> float:
    y, measured = given.y[image, 0], given.degradation.operator.measured(given.y)[image, 0]
    squares = []
    for i, j in itertools.product(range(y.shape[0]), range(y.shape[1])):
        for a, b in ((i + 1, j), (i, j + 1)):
            if a < y.shape[0] and b < y.shape[1] and measured[i, j] and measured[a, b]:
                squares.append(float(y[i, j] - y[a, b]) ** 2)
    return sum(squares) / len(squares)


@pytest.mark.parametrize("task", ["inpaint:missing=0.5,sigma=10", "superres:factor=4", "denoise:sigma=25"])
def test_roughness_is_difference_of_measured_neighbours_without_noise(task: str) -> None:
    given = case(task, TRUTH)
    variance = given.degradation.expected_residual(given.y)
    for image in range(3):
        noise = 0.0 if variance is None else 2 * float(variance[image])
        expected = max(naive_roughness(given, image) - noise, (1 / 255) ** 2) ** 0.5
        assert roughness(given)[image].item() == pytest.approx(expected, rel=1e-4)


def test_noise_level_grows_with_the_error_of_the_start() -> None:
    """A+ y is 0 where pixels are missing, so its error is that of a black pixel in a bright image."""
    given = case("inpaint:missing=0.5", 0.5 + 0.5 * TRUTH)
    zero, good = (
        noise_levels(given, images) for images in (given.degradation.operator.pinv(given.y), 0.5 + 0.5 * TRUTH)
    )
    assert (zero > 3 * good).all()
    bright = given.degradation.operator.measured(given.y) * given.y
    assert zero.max() <= bright.max()


def test_noise_level_never_vanishes() -> None:
    flat = torch.full((2, 1, 8, 8), 0.4)
    for task in ("inpaint:missing=0.5", "superres:factor=2", "denoise:sigma=5"):
        given = case(task, flat)
        assert (noise_levels(given, flat) >= 0.9 / 255).all()


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("inpaint:missing=0.5", "kriging"),
        ("superres:factor=4", "bicubic"),
        ("deblur:sigma=2", "wiener"),
        ("denoise:sigma=25", "nl-bayes"),
    ],
)
def test_classic_start_suits_the_task(task: str, name: str) -> None:
    given = case(task, shapes(2, size=28))
    assert classic_for(given) == name
    made = start_restorer("classic", given, SMALL)
    list(made)
    assert made.images.shape == given.shape
    worse = start_restorer("pinv", given, SMALL)
    list(worse)
    truth = shapes(2, size=28)
    assert (made.images - truth).square().mean() < (worse.images - truth).square().mean()


def chains(given: Case, samples: int = 2) -> Callable[[Tensor], Restorer]:
    prior = ideal_prior(shapes(5, seed=1))

    def make(images: Tensor) -> Restorer:
        levels = noise_levels(given, images).tolist()
        return Chains(prior, given.y, given.degradation, images, levels, steps=3, samples=samples, seed=0)

    return make


def test_seconds_of_a_start_count_for_each_sampler_but_it_runs_once() -> None:
    given = case("inpaint:missing=0.6,sigma=5", TRUTH)
    ticks = itertools.count()
    made: list[None] = []

    def make() -> Restorer:
        made.append(None)
        return start_restorer("dip", given, SMALL)

    start = Start(make, lambda: float(next(ticks)))
    first = Stopwatch(lambda: StartedRestorer(start), lambda: float(next(ticks)))
    list(first)
    alone = first.cost()
    assert start.cost is not None and torch.equal(alone.images, start.cost.images)
    assert alone.seconds >= start.cost.seconds
    second = Stopwatch(lambda: StartedRestorer(start, chains(given)), lambda: float(next(ticks)))
    list(second)
    cost = second.cost()
    assert len(made) == 1
    assert cost.seconds == second.seconds + start.cost.seconds
    assert (cost.iterations, cost.nfe) == (start.cost.iterations, 6)


def test_started_sampler_resumes_exactly_within_start_and_samples() -> None:
    given = case("inpaint:missing=0.6,sigma=5", TRUTH)

    def make() -> Restorer:
        start = Start(lambda: start_restorer("dip", given, SMALL), lambda: 0.0)
        return StartedRestorer(start, chains(given))

    assert_resumes_exactly(make, [0, 7, 23, 25])
