from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.tui.console.model.curves import band

CURVES = st.lists(
    st.dictionaries(st.integers(0, 50), st.floats(-100, 100), min_size=1, max_size=12).map(
        lambda points: ([float(x) for x in sorted(points)], [points[x] for x in sorted(points)])
    ),
    min_size=1,
    max_size=4,
)


@given(CURVES)
def test_band_agrees_with_numpy_mean_and_deviation(
    curves: list[tuple[list[float], list[float]]],
) -> None:
    averaged = band(curves)
    assert averaged.x == sorted({at for x, _ in curves for at in x})
    for at, mean, lower, upper in zip(*averaged, strict=True):
        values = [np.interp(at, x, y) for x, y in curves if x[0] <= at <= x[-1]]
        assert mean == pytest.approx(np.mean(values), abs=1e-6)
        if len(values) == 1:
            assert math.isnan(lower)
            assert math.isnan(upper)
        else:
            reach = np.std(values, ddof=1)
            assert (lower, upper) == pytest.approx((np.mean(values) - reach, np.mean(values) + reach), abs=1e-6)


def test_band_thins_long_curves_and_keeps_ends() -> None:
    x = [float(at) for at in range(10_000)]
    averaged = band([(x, x), (x, [at + 2 for at in x])], points=50)
    assert len(averaged.x) == 50
    assert (averaged.x[0], averaged.x[-1]) == (0.0, 9999.0)
    assert averaged.mean == [at + 1 for at in averaged.x]


def test_band_ignores_nan_of_diverged_run() -> None:
    averaged = band([([0.0, 1.0], [1.0, 3.0]), ([0.0, 1.0], [2.0, math.nan])])
    assert averaged.mean == [1.5, 3.0]


def test_band_extrapolates_no_curve() -> None:
    averaged = band([([1.0, 2.0], [5.0, 7.0]), ([0.9, 1.5, 2.1], [1.0, 1.0, 1.0])])
    assert averaged.x == [0.9, 1.0, 1.5, 2.0, 2.1]
    assert averaged.mean == [1.0, 3.0, 3.5, 4.0, 1.0]


def test_band_of_no_curve_is_empty() -> None:
    assert band([]) == ([], [], [], [])
