from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import growth
from benchmarks.growth import Growth, Point
from benchmarks.program import CLI

CPU = torch.device("cpu")


def grown(*points: tuple[int, float]) -> Growth:
    return Growth(name="work", amount="things", points=[Point(amount, seconds, 1) for amount, seconds in points])


@given(exponent=st.floats(-1, 3), factor=st.integers(2, 1000), first=st.floats(1e-6, 10))
def test_steepest_is_the_exponent_of_a_power_law(exponent: float, factor: int, first: float) -> None:
    found = grown((1, first), (factor, first * factor**exponent), (factor**2, first * factor ** (2 * exponent)))
    assert found.steepest == pytest.approx(exponent, abs=1e-6)


def test_linear_is_false_for_one_steep_step() -> None:
    assert grown((1, 1.0), (10, 1.1), (100, 11.0)).linear
    assert not grown((1, 1.0), (10, 1.1), (100, 110.0), (1000, 110.0)).linear


def test_plot_is_relative_to_the_first_point() -> None:
    curve, line = growth.plot([grown((10, 2.0), (40, 4.0))]).curves
    assert (curve.x, curve.y) == ([1, 4], [1, 2])
    assert line.x == line.y == [1, 4]


@pytest.mark.parametrize(
    ("measure", "amounts"),
    [
        (lambda: growth.pixels(CPU, sides=(8, 16)), [64, 256]),
        (lambda: growth.batch(CPU, largest=4), [1, 4]),
        (lambda: growth.log(counts=(10, 100))[0], [10, 100]),
        (lambda: growth.log(counts=(10, 100))[1], [10, 100]),
        (lambda: growth.resumes(counts=(3, 30)), [3, 30]),
    ],
)
def test_each_growth_is_measured_at_its_amounts(measure: Any, amounts: list[int]) -> None:
    found = measure()
    assert [point.amount for point in found.points] == amounts
    assert all(point.seconds > 0 for point in found.points)


@pytest.mark.slow
def test_runs_measures_ls() -> None:
    found = growth.runs(CLI, counts=(3,))
    assert [point.amount for point in found.points] == [3]
