"""Tests of the head-to-head's images: they are reproducible and have the stated size, range and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dipddpm.core.data import procedural
from dipddpm.core.errors import UserError

MADE = ("glyphs", "patches", "leaves")


@pytest.mark.parametrize("name", MADE)
def test_procedural_image_is_independent_of_count(name: str) -> None:
    few, many = procedural.load(name, 2), procedural.load(name, 5)
    assert torch.equal(few.images, many.images[:2])
    assert few.images.dtype == torch.uint8
    assert few.images.shape == (2, 1, 28, 28)
    assert len({image.numpy().tobytes() for image in many.images}) == 5
    assert (few.name, few.split) == (name, "made")


@pytest.mark.parametrize("name", MADE)
def test_procedural_images_have_contrast_and_differ(name: str) -> None:
    images = procedural.load(name, 40).images.float()
    assert images.flatten(1).std(1).median() > 20
    assert images.mean((1, 2, 3)).std() > 10


def test_glyphs_have_background_of_one_grey() -> None:
    for image in procedural.load("glyphs", 20).images:
        corners = image[0, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert len(set(corners.tolist())) == 1
        assert (image != corners[0]).float().mean() < 0.5


def test_dead_leaves_spectrum_falls_like_natural_images() -> None:
    images = procedural.load("leaves", 40).images.double() - 127
    power = torch.fft.fft2(images).abs().square().mean((0, 1))
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(28), np.fft.fftfreq(28)))
    bands = [(radius > low) & (radius <= 2 * low) for low in (1 / 28, 2 / 28, 4 / 28)]
    x = [np.log(radius[band].mean()) for band in bands]
    y = [np.log(power.numpy()[band].mean()) for band in bands]
    # The power spectrum of natural images falls about as f^-2; white noise has a flat spectrum.
    assert -3.2 < np.polyfit(x, y, 1)[0] < -1.2


def test_procedural_load_takes_first_test_images_of_data_set() -> None:
    images = procedural.load("fashion-mini", 3)
    assert (images.split, len(images), len(images.classes)) == ("test", 3, 10)
    with pytest.raises(UserError, match="no image 500"):
        procedural.load("fashion-mini", 501)
