"""Binning and smoothing against their definitions: extremes are kept, and updates agree with a single pass."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipddpm.core.events import RunResumed
from dipddpm.tui.console.model.curves import Binner, Smoother, Track

Curve = tuple["array[float]", "array[float]"]
VALUES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])
CURVES = st.lists(st.tuples(st.integers(0, 5), VALUES), min_size=1, max_size=300).map(
    lambda rows: (
        array("d", [float(sum(gap for gap, _ in rows[: index + 1])) for index in range(len(rows))]),
        array("d", [value for _, value in rows]),
    )
)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


@given(CURVES, st.integers(1, 40))
def test_binner_keeps_extremes_of_every_column(curve: Curve, columns: int) -> None:
    x, y = curve
    reduced_x, reduced_y = Binner(x[0], x[-1], columns).update(x, y)
    width = (x[-1] - x[0]) / columns or 1.0

    def extremes(at: Sequence[float], values: Sequence[float]) -> dict[int, tuple[float, float]]:
        bounds: dict[int, tuple[float, float]] = {}
        for position, value in zip(at, values, strict=True):
            column = min(columns - 1, int((position - x[0]) / width))
            if math.isfinite(value):
                low, high = bounds.get(column, (value, value))
                bounds[column] = min(low, value), max(high, value)
        return bounds

    assert extremes(reduced_x, reduced_y) == extremes(x, y)
    assert len(reduced_y) <= 3 * columns
    assert list(reduced_x) == sorted(reduced_x)


@given(CURVES, st.integers(1, 20))
def test_binner_leaves_gap_for_non_finite_value(curve: Curve, columns: int) -> None:
    x, y = curve
    _, reduced = Binner(x[0], x[-1], columns).update(x, y)
    assert any(map(math.isnan, reduced)) == (len(_finite(y)) < len(y))


@given(CURVES, st.integers(1, 30), st.lists(st.integers(0, 300), max_size=6))
def test_binner_updates_agree_with_single_pass(curve: Curve, columns: int, pauses: list[int]) -> None:
    x, y = curve
    growing_x, growing_y = array("d"), array("d")
    binner = Binner(0.0, x[-1] or 1.0, columns)
    for pause in sorted({*pauses, len(x)}):
        growing_x.extend(x[len(growing_x) : pause])
        growing_y.extend(y[len(growing_y) : pause])
        updated = binner.update(growing_x, growing_y)
    fresh = Binner(0.0, x[-1] or 1.0, columns).update(x, y)
    assert repr(updated) == repr(fresh)


def test_binner_restarts_for_another_curve() -> None:
    binner = Binner(0.0, 10.0, 5)
    binner.update(array("d", range(10)), array("d", range(10)))
    assert binner.update(array("d", range(10)), array("d", [7.0] * 10))[1] == [7.0] * 10


def test_binner_keeps_spike_among_47000_values() -> None:
    y = array("d", [0.1]) * 47_000
    y[31_234] = 9.0
    reduced_x, reduced_y = Binner(0.0, 46_999.0, 200).update(array("d", range(47_000)), y)
    assert reduced_x[reduced_y.index(9.0)] == 31_234


@given(st.lists(VALUES, max_size=60), st.floats(0.01, 0.99))
def test_smoother_averages_weighted_by_age(values: list[float], weight: float) -> None:
    smoothed = Smoother(weight).update(values)
    for index, value in enumerate(values):
        past = _finite(values[: index + 1])
        if not math.isfinite(value):
            assert math.isnan(smoothed[index])
            continue
        weights = [weight**age for age in range(len(past) - 1, -1, -1)]
        expected = sum(w * v for w, v in zip(weights, past, strict=True)) / sum(weights)
        assert smoothed[index] == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_smoother_leaves_constant_unchanged() -> None:
    assert list(Smoother(0.9).update([3.0] * 5)) == pytest.approx([3.0] * 5)


def test_smoother_continues_on_longer_values() -> None:
    values = array("d", [5.0, 1.0, 4.0])
    smoother = Smoother(0.7)
    smoother.update(values)
    values.extend([9.0, math.nan, 2.0])
    assert repr(smoother.update(values)) == repr(Smoother(0.7).update(values))


def test_track_steps_and_times_never_decrease() -> None:
    track = Track("loss")
    for step, time in ((1, 10.0), (5, 8.0), (3, 12.0)):
        track.append((step, 0, time), 0, 0.0)
    assert list(track.x("step")) == [1, 5, 5]
    assert list(track.x("time")) == [10, 10, 12]


def test_track_drops_voided_rows_and_their_smoothing() -> None:
    track = Track("loss")
    for step in range(1, 11):
        track.append((step, step / 10, step * 2.0), 100 * step, float(step))
    before = track.smoothed("loss", 0.5)
    track.drop_voided(RunResumed(from_step=4, from_offset=401))
    assert list(track.x("step")) == [1, 2, 3, 4]
    assert track.row_at(3) == 2
    assert track.row_at(0) == -1
    assert track.smoothed("loss", 0.5) == before[:4]
    assert track.smoothed("loss", 0.5) is not before
