from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("dipddpm.core.experiments.image.tiles")

from benchmarks.large import PICTURES, seams_of
from dipddpm.core.experiments.image.tiles import Window

TILES = [Window(top, left, 36, 36) for top in (0, 28) for left in (0, 28)]
"""Tiles of a picture of 64x64 pixels, which overlap by 8 pixels."""


def test_seam_shows_in_the_steps_at_borders_only() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    flat[:, 32:] += 5
    seams = seams_of(flat, TILES)
    assert (seams.largest_at_borders, seams.largest_elsewhere) == (5, 0)
    assert (seams.line_at_borders, seams.line_elsewhere) == (5, 0)


def test_steps_inside_tiles_are_the_pictures_own() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    image[10:] += 7
    seams = seams_of(image, TILES)
    assert (seams.largest_at_borders, seams.largest_elsewhere) == (0, 7)


def test_large_pictures_have_no_seams_of_their_own() -> None:
    for make in PICTURES.values():
        truth = make()
        assert truth.shape == (1024, 1024, 3)
        for middle in (truth[511:513], truth[:, 511:513].swapaxes(0, 1)):
            assert np.array_equal(middle[0], middle[1])
