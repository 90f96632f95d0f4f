"""The confidence bounds of paired differences, against scipy's t tests."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dipddpm.core.evaluation.intervals import Interval, interval, pooled

values = st.lists(st.floats(-5, 5), min_size=2, max_size=30).filter(lambda v: max(v) - min(v) > 1e-3)


@given(values)
def test_interval_matches_students_t(differences: list[float]) -> None:
    bounds = interval(differences)
    oracle = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert bounds.lower == pytest.approx(oracle.low, abs=1e-9)
    assert bounds.upper == pytest.approx(oracle.high, abs=1e-9)


@given(values, values)
def test_pooled_matches_welchs_t(first: list[float], second: list[float]) -> None:
    # The mean of two means is half the difference between the first and the negative of the second.
    oracle = stats.ttest_ind(first, [-value for value in second], equal_var=False).confidence_interval(0.95)
    bounds = pooled([first, second])
    assert bounds.lower == pytest.approx(oracle.low / 2, abs=1e-9)
    assert bounds.upper == pytest.approx(oracle.high / 2, abs=1e-9)


def test_pooled_weighs_strata_equally() -> None:
    assert pooled([[1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]) == Interval(0.5, 0.5, 0.5)


def test_interval_of_one_image_has_no_bounds() -> None:
    assert interval([0.3]) == Interval(0.3, None, None)


def test_interval_formats_as_in_tables() -> None:
    assert str(Interval(0.418, 0.1, -0.02)) == "+0.42 [+0.10, -0.02]"
    assert Interval(0.418, 0.1, -0.02, 2).text(" dB") == "+0.42 [+0.10, -0.02] dB, without 2 exact"
    assert Interval(0.418, None, None).text(" dB") == "+0.42 [one image: no bounds] dB"
    assert str(Interval(0.418, -math.inf, math.inf)) == "+0.42 [one image: no bounds]"  # as older logs have it


@pytest.mark.parametrize("scale", [1e-120, 1e-3, 1e150])
def test_pooled_scales_with_unit(scale: float) -> None:
    strata = [[0.1, 0.4, -0.2], [1.0, 0.7, 0.9, 1.3]]
    scaled, bounds = pooled([[scale * value for value in values] for values in strata]), pooled(strata)
    assert bounds.lower is not None
    assert bounds.upper is not None
    oracle = [scale * value for value in (bounds.mean, bounds.lower, bounds.upper)]
    assert scaled[:3] == pytest.approx(oracle, rel=1e-9, abs=0)


def test_interval_has_no_bounds_on_overflow() -> None:
    assert interval([1e200, -1e200]) == Interval(0.0, None, None)
