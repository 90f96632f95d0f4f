"""Tests of drawn dead leaves: the law of their radii, independently of its inverse, and the form of the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dipddpm.core.data import leaves


def test_radii_have_density_proportional_to_inverse_cube() -> None:
    smallest, largest = 1.5, 40.0
    drawn = leaves.radii(np.random.default_rng(0), 200_000, smallest, largest)
    assert smallest <= drawn.min()
    assert drawn.max() <= largest
    edges = np.geomspace(smallest, largest, 12)
    # The integral of r^-3, by sums over a fine grid.
    fine = np.geomspace(smallest, largest, 100_001)
    density = np.cumsum(np.diff(fine) * (fine[1:] ** -3 + fine[:-1] ** -3) / 2)
    expected = np.diff(np.interp(edges[1:], fine[1:], density), prepend=0) / density[-1]
    counts = np.histogram(drawn, edges)[0] / len(drawn)
    assert counts == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(drawn)))


def test_pictures_are_in_range_repeatable_and_some_grey() -> None:
    pictures = [leaves.dead_leaves(np.random.default_rng(seed), 32) for seed in range(40)]
    for picture in pictures:
        assert picture.shape == (32, 32, 3)
        assert picture.dtype == np.float32
        assert 0 <= picture.min() <= picture.max() <= 1
    grey = sum(bool((picture == picture[..., :1]).all()) for picture in pictures)
    assert 3 <= grey <= 20
    assert np.mean([picture.std() for picture in pictures]) > 0.05
    assert np.array_equal(pictures[7], leaves.dead_leaves(np.random.default_rng(7), 32))


def test_power_spectrum_falls_like_that_of_natural_images() -> None:
    """Natural images have a power spectrum of about 1 / f^2 (Field 1987); white noise would have a slope of 0."""
    rows, columns = np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None]
    frequency = np.hypot(rows, columns)
    window = np.hanning(128)[:, None] * np.hanning(128)
    power = np.zeros((128, 128))
    for seed in range(24):
        plane = leaves.dead_leaves(np.random.default_rng(seed), 128).mean(-1)
        power += np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2 / plane.var()
    chosen = (frequency > 4 / 128) & (frequency < 0.35)
    slope = np.polyfit(np.log(frequency[chosen]), np.log(power[chosen]), 1)[0]
    assert -3.2 < slope < -1.4


def test_patches_are_turned_cuts_of_the_pictures() -> None:
    picture = np.arange(5 * 6 * 3, dtype=np.float32).reshape(5, 6, 3)
    cut = leaves.patches(np.random.default_rng(0), [picture], 50, 4)
    assert cut.shape == (50, 3, 4, 4)
    windows = [picture[top : top + 4, left : left + 4].transpose(2, 0, 1) for top in range(2) for left in range(3)]
    for patch in cut:
        found = [
            (number, turns, flipped)
            for number, window in enumerate(windows)
            for turns in range(4)
            for flipped in (False, True)
            if np.array_equal(patch, np.rot90(window[..., ::-1] if flipped else window, turns, (1, 2)))
        ]
        assert len(found) == 1
