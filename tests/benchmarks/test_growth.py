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


def growth_of(*points: tuple[int, float]) -> Growth:
    return Growth(name="work", amount="things", points=[Point(amount, seconds, 1) for amount, seconds in points])


@given(exponent=st.floats(-1, 3), factor=st.integers(2, 1000), first=st.floats(1e-6, 10))
def test_growth_steepest_is_exponent_of_power_law(exponent: float, factor: int, first: float) -> None:
    seconds = [first * factor ** (power * exponent) for power in range(3)]
    power_law = growth_of((1, seconds[0]), (factor, seconds[1]), (factor**2, seconds[2]))
    assert power_law.steepest == pytest.approx(exponent, abs=1e-6)


def test_growth_linear_is_false_for_one_steep_step() -> None:
    assert growth_of((1, 1.0), (10, 1.1), (100, 11.0)).linear
    assert not growth_of((1, 1.0), (10, 1.1), (100, 110.0), (1000, 110.0)).linear


def test_growth_plot_is_relative_to_first_point() -> None:
    curve, line = growth.plot([growth_of((10, 2.0), (40, 4.0))]).curves
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
def test_growth_is_measured_at_given_amounts(measure: Any, amounts: list[int]) -> None:
    measured = measure()
    assert [point.amount for point in measured.points] == amounts
    assert all(point.seconds > 0 for point in measured.points)


@pytest.mark.slow
def test_growth_runs_measures_ls() -> None:
    measured = growth.runs(CLI, counts=(3,))
    assert [point.amount for point in measured.points] == [3]
