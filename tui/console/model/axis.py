"""Axes of a chart: limits that rarely move while a series grows, and ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

_MANTISSAS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LOG_MANTISSAS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
_LOG_TICKS = ((1.0, 2.0, 3.0, 4.0, 5.0, 7.0), (1.0, 2.0, 3.0, 5.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
_CLOCK_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_UPPER_MANTISSAS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_GRID_LINES = 12
"""Axis limits are rounded to a grid with about this many lines across the data.

So they stay close to the data and don't move at most new values.
"""


class Scale(NamedTuple):
    """The ends of an axis, and its labelled ticks."""

    lower: float
    upper: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def linear_scale(low: float, high: float, max_ticks: int) -> Scale:
    """Return an axis that encloses the data closely, with at most about `max_ticks` ticks at round numbers.

    The axis goes below zero only if the data does.
    """
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-290):  # a single value, up to rounding
        low, high = _widened(low)
    grid = _round_step((high - low) / _GRID_LINES)
    lower, upper = math.floor(low / grid + 1e-9) * grid, math.ceil(high / grid - 1e-9) * grid
    step = _round_step((upper - lower) / max(1.0, max_ticks - 1.0))
    ticks = _multiples(step, lower, upper)
    while len(ticks) < 2:
        step = _round_step(step / 2.6)  # the next smaller round step
        ticks = _multiples(step, lower, upper)
    return Scale(lower, upper, ticks, tuple(format_tick(tick, step) for tick in ticks))


def log_scale(low: float, high: float, max_ticks: int) -> Scale:
    """Return a logarithmic axis that encloses positive data closely, with at most `max_ticks` ticks."""
    if not high > low:
        low, high = low / 1.1, high * 1.1
    linear_axis = linear_scale(low, high, max_ticks)
    if high / low < 3 and linear_axis.lower > 0:
        return linear_axis  # over less than half a decade, evenly spaced numbers are easier to read than powers
    grid = _log_numbers(low, high, _LOG_MANTISSAS)
    lower = max(number for number in grid if number <= low * (1 + 1e-9))
    upper = min(number for number in grid if number >= high * (1 - 1e-9))
    for mantissas in _LOG_TICKS:
        ticks = tuple(tick for tick in _log_numbers(lower, upper, mantissas) if lower <= tick <= upper)
        if len(ticks) <= max_ticks:
            break
    every = -(-len(ticks) // max(2, max_ticks))  # for more decades than labels that fit
    ticks = ticks[::every]
    return Scale(lower, upper, ticks, tuple(format_tick(tick, tick) for tick in ticks))


def count_scale(high: float, max_ticks: int, *, exact: bool = False) -> Scale:
    """Return an axis of steps or epochs from 0 to `high` (`exact`), or to a rounder number above; its end is labelled.

    The room to grow saves repainting, since a change of the axis redraws the whole chart.
    """
    upper = max(high, 1.0)
    if not exact:
        scale = 10.0 ** math.floor(math.log10(upper))
        upper = max(1.0, next(room for room in _UPPER_MANTISSAS if room * scale >= upper * (1 - 1e-9)) * scale)
    step = _round_step(upper / max(1.0, max_ticks - 1.0))
    step = max(1.0, 5.0 if step == 2.5 else step)
    upper = math.ceil(upper)
    return _scale_to(step, upper, format_count)


def time_scale(high: float, max_ticks: int, *, exact: bool = False) -> Scale:
    """Return an axis of seconds like `count_scale`, labelled as clock time."""
    upper = max(high, 1.0)
    step = _clock_step(upper / max(1.0, max_ticks - 1.0))
    if not exact:
        grid = _clock_step(upper / 4)
        upper = math.ceil(upper / grid - 1e-9) * grid
    return _scale_to(step, upper, _clock_label)


def format_tick(value: float, step: float) -> str:
    """Format a tick's number with the digits that distinguish it from its neighbours, which are `step` apart."""
    if value == 0:
        return "0"
    size = abs(value)
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if 1e12 > size >= max(unit, 1e4):
            return format_tick(value / unit, step / unit) + letter
    if size >= 1e12 or size < 1e-4:
        digits = max(0, _decade(size) - _decade(step)) + (_mantissa(step) % 1 != 0)
        return f"{value:.{digits}e}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    decimals = max(0, -_decade(step)) + (_mantissa(step) % 1 != 0 and step < 10)
    return f"{value:.{decimals}f}"


def format_count(value: float) -> str:
    """Format a number of steps or epochs briefly: 500, 5k, 12.5k, 1.25M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size and (value >= 10 * size or value % (size / 100) == 0):
            return f"{value / size:.4g}{letter}"
    return f"{value:.6g}"


def _scale_to(step: float, upper: float, label: Callable[[float], str]) -> Scale:
    """Return an axis from 0 to `upper`, with a tick at its end and no other tick so near that labels would touch."""
    between = (tick for tick in _multiples(step, 0.0, upper) if 0 < tick <= upper - 0.45 * step)
    ticks = (0.0, *between, upper)
    return Scale(0.0, upper, ticks, tuple(map(label, ticks)))


def _multiples(step: float, lower: float, upper: float) -> tuple[float, ...]:
    first, last = math.ceil(lower / step - 1e-9), math.floor(upper / step + 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def _widened(value: float) -> tuple[float, float]:
    """Return a range around a value that doesn't cross zero."""
    room = abs(value) * 0.1 or 0.5
    return (max(0.0, value - room), value + room) if value >= 0 else (value - room, min(0.0, value + room))


def _round_step(rough: float) -> float:
    scale = 10.0 ** math.floor(math.log10(rough))
    return next(mantissa for mantissa in _MANTISSAS if mantissa * scale >= rough * (1 - 1e-9)) * scale


def _clock_step(rough: float) -> float:
    return next((step for step in _CLOCK_STEPS if step >= rough), 0) or math.ceil(rough / 86400) * 86400


def _log_numbers(low: float, high: float, mantissas: Sequence[float]) -> list[float]:
    """Return the numbers with these mantissas, in order, from below `low` to above `high`."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    return [float(f"{mantissa}e{power}") for power in range(first, last + 1) for mantissa in mantissas]


def _decade(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)


def _mantissa(value: float) -> float:
    """Return the mantissa of a round step: 2.5 for 0.025."""
    return round(value / 10.0 ** _decade(value), 6)


def _clock_label(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, of_day = divmod(hours, 24)
    if days:
        return f"{days}d{of_day:02d}h" if of_day else f"{days}d"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
