"""Axes enclose the data, have correct labels, and rarely move."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dipddpm.tui.console.model import axis

POSITIVE = st.floats(1e-9, 1e9)
WANTED = st.integers(2, 12)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), WANTED)
def test_linear_scale_holds_data_closely(one: float, other: float, wanted: int) -> None:
    low, high = min(one, other), max(one, other)
    assume(high - low > max(1e-300, 1e-6 * max(abs(low), abs(high))))  # closer values count as one
    scale = axis.linear_scale(low, high, wanted)
    room = 1e-6 * (high - low)
    assert scale.lower <= low + room
    assert scale.upper >= high - room
    assert scale.upper - scale.lower <= 1.5 * (high - low)
    _check_ticks(scale, wanted)


@given(st.floats(0, 1e9), st.floats(0, 1e9), WANTED)
def test_linear_scale_of_positive_data_stays_above_zero(one: float, other: float, wanted: int) -> None:
    assert axis.linear_scale(min(one, other), max(one, other), wanted).lower >= 0


@given(POSITIVE, POSITIVE, WANTED)
def test_log_scale_holds_data_closely(one: float, other: float, wanted: int) -> None:
    low, high = min(one, other), max(one, other)
    assume(high > low * 1.000001)
    scale = axis.log_scale(low, high, wanted)
    assert 0 < scale.lower <= low * 1.000001
    assert scale.upper >= high * 0.999999
    assert math.log(scale.upper / scale.lower) <= math.log(high / low) + math.log(1.5 * 1.5)
    _check_ticks(scale, wanted)


@given(st.floats(0, 1e9), WANTED, st.booleans())
def test_count_and_time_scales_start_at_zero_and_label_end(high: float, wanted: int, exact: bool) -> None:
    for scale in (axis.count_scale(high, wanted, exact=exact), axis.time_scale(high, wanted, exact=exact)):
        assert scale.lower == scale.ticks[0] == 0
        assert scale.upper == scale.ticks[-1] >= high
        assert scale.labels[-1]
        _check_ticks(scale, wanted)


@given(st.floats(10, 1e7))
def test_count_scale_stays_while_data_grow_little(high: float) -> None:
    tops = {axis.count_scale(high * (1 + grown / 1000), 8).upper for grown in range(0, 100, 5)}
    assert len(tops) <= 2


def _check_ticks(scale: axis.Scale, wanted: int) -> None:
    assert 1 <= len(scale.ticks) <= 2 * wanted + 2
    assert list(scale.ticks) == sorted(set(scale.ticks))
    span = scale.upper - scale.lower
    assert all(scale.lower - 1e-6 * span <= tick <= scale.upper + 1e-6 * span for tick in scale.ticks)
    assert len(scale.labels) == len(scale.ticks)


@pytest.mark.parametrize("value", [0.0, 0.035, 1.0, 5.0, 1e-7, 3e8, -2.0])
def test_linear_scale_surrounds_single_value(value: float) -> None:
    scale = axis.linear_scale(value, value, 4)
    assert scale.lower <= value < scale.upper
    assert value < 0 or scale.lower >= 0


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.031, 1.2, ("0", "0.5", "1.0")),
        (0.035, 0.0361, ("0.0350", "0.0355", "0.0360")),
        (1e-7, 3e-7, ("1e-7", "2e-7", "3e-7")),
        (117_900, 118_900, ("118.0k", "118.5k")),
        (-3, 2, ("-2", "0", "2")),
    ],
)
def test_linear_scale_labels_are_round_and_distinct(low: float, high: float, labels: tuple[str, ...]) -> None:
    assert axis.linear_scale(low, high, 4).labels == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.031, 1.2, ("0.03", "0.1", "0.3", "1")),
        (1e-9, 3, ("1e-9", "1e-6", "0.001", "1")),
        (0.0350, 0.0361, ("0.0350", "0.0355", "0.0360")),
    ],
)
def test_log_scale_labels_are_round(low: float, high: float, labels: tuple[str, ...]) -> None:
    assert axis.log_scale(low, high, 4).labels == labels


def test_count_scale_labels_whole_epochs() -> None:
    assert axis.count_scale(1, 8).labels == ("0", "1")
    assert axis.count_scale(3, 8).labels == ("0", "1", "2", "3")
    assert axis.count_scale(47_000, 6, exact=True).labels == ("0", "10k", "20k", "30k", "40k", "47k")


def test_time_scale_labels_minutes_hours_and_days() -> None:
    assert axis.time_scale(65, 6).labels[-1] == "1:30"
    assert axis.time_scale(7300, 6).labels[-1] == "3:00:00"
    assert axis.time_scale(86_400 * 3.3, 6).labels == ("0:00", "1d", "2d", "3d", "4d")
