"""Tests of the benchmark of the noise estimate."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import noise_levels
from benchmarks.noise_levels import Draw


def draw(kind: str, level: float, found: str, found_level: float, *, inside: bool = True) -> Draw:
    return Draw(
        picture="a",
        kind=kind,
        level=level,
        found=found,
        found_level=found_level,
        inside=inside,
        certainty=0.5,
        seconds=0.1,
    )


def test_noise_has_its_level_in_a_file_of_8_bits() -> None:
    clean, rng = np.full((1, 300, 300), 0.5), np.random.default_rng(0)
    noisy = noise_levels.add_noise(clean, "gaussian", 20, rng)
    assert noisy.std() * 255 == pytest.approx(20, rel=0.02)
    np.testing.assert_allclose(noisy * 255, np.round(noisy * 255), atol=1e-9)
    assert noise_levels.add_noise(clean, "poisson", 50, rng).var() == pytest.approx(0.5 / 50, rel=0.05)
    assert (noise_levels.add_noise(clean, "salt-and-pepper", 0.2, rng) == 0).mean() == pytest.approx(0.1, abs=0.01)


def test_tables_count_near_levels_and_confusions() -> None:
    draws = [
        draw("gaussian", 25, "gaussian", 26),
        draw("gaussian", 25, "gaussian", 30, inside=False),
        draw("gaussian", 25, "poisson", 25, inside=False),
        draw("gaussian", 50, "gaussian", 50),
        draw("poisson", 30, "poisson", 30),
        draw("salt-and-pepper", 0.2, "salt-and-pepper", 0.2),
    ]
    assert noise_levels.share_near(draws[:4]) == 0.5
    draws += [draw(kind, level, kind, level) for kind, levels in noise_levels.NOISES.items() for level in levels]
    rows = {row[:2]: row for row in noise_levels.level_table(draws)}
    assert rows["gaussian", "25"][2:] == ("26", "50%", "50%", "4")
    confusion = {row[0]: row for row in noise_levels.kind_table(draws)}
    assert confusion["gaussian"][1:3] == ("90.9%", "9.1%")
    assert confusion["poisson"][2] == "100.0%"
