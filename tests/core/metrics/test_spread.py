from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from dipddpm.core.images import to_bytes
from dipddpm.core.metrics.spread import Spread, drift_text, scale_each

REAL = Spread(center=-0.4, brightness=0.25, contrast=0.6)


def samples(offsets: list[float], contrast: float = 0.6) -> torch.Tensor:
    """Return images with exactly these means, each of half dark and half bright pixels."""
    signs = torch.ones(8, 8)
    signs[:4] = -1
    return torch.stack([offset + contrast * signs for offset in offsets]).unsqueeze(1)


def test_spread_is_standard_deviation_of_means_and_mean_deviation_inside() -> None:
    images = torch.randn(50, 3, 6, 5, dtype=torch.float64) * 2 + torch.randn(50, 1, 1, 1, dtype=torch.float64)
    array = images.numpy().reshape(50, -1)
    measured = Spread.of(images)
    assert measured.center == pytest.approx(array.mean())
    assert measured.brightness == pytest.approx(array.mean(1).std())
    assert measured.contrast == pytest.approx(array.std(1).mean())
    about_one = Spread.of(images, center=1.0).brightness
    assert about_one == pytest.approx(np.sqrt(((array.mean(1) - 1) ** 2).mean()))


def test_spread_leaves_out_unusable_images() -> None:
    images = samples([0, 1, 5, 5])
    images[2, 0, 0, 0], images[3, 0, 0, 0] = torch.nan, 1e30
    assert Spread.of(images) == Spread.of(images[:2])
    assert drift_text(images[2:], REAL) == ""


def test_spread_of_training_images_is_in_model_space() -> None:
    images = to_bytes(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, 1, 4, 4)).repeat(3000, 1, 1, 1)
    assert Spread.of_training(images[:2]) == Spread(0.0, 1.0, 0.0)
    assert Spread.of_training(images).brightness == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("offsets", [[-0.4, -0.1, -0.9], [-1.0], [0.5, -1, -0.4]])
def test_samples_in_range_have_no_drift(offsets: list[float]) -> None:
    assert drift_text(samples(offsets), REAL) == ""
    assert drift_text(samples(offsets)) == ""


def test_drift_text_names_brightness_with_numbers() -> None:
    text = drift_text(samples([7.6 - 0.4, -7.6 - 0.4]), REAL)
    assert text == (
        "The means of the samples spread over 7.6 (standard deviation, where images lie in [-1, 1]), "
        "those of the training images over 0.25."
    )
    assert drift_text(samples([8.0, 8.0]), REAL).startswith("The means of the samples spread over 8.4 ")
    assert "those of images over 1 at most" in drift_text(samples([8.0]))


def test_drift_text_names_contrast() -> None:
    text = drift_text(samples([-0.4], contrast=150), REAL)
    assert text.startswith("The pixels of a sample spread over 1.5e+02 ")
    assert text.endswith("those of a training image over 0.6.")


def test_equally_bright_real_images_make_no_small_spread_far() -> None:
    equal = Spread(center=0.0, brightness=0.001, contrast=0.001)
    assert drift_text(samples([0.3, -0.3], contrast=0.3), equal) == ""
    assert "means" in drift_text(samples([0.6, -0.6], contrast=0.3), equal)


def test_scale_each_shows_images_as_imshow_does() -> None:
    images = torch.randn(5, 1, 7, 6) * torch.tensor([0.1, 1, 10, 100, 3]).view(5, 1, 1, 1) + 4
    for image, scaled in zip(images, scale_each(images), strict=True):
        shown = Figure().subplots().imshow(image[0].numpy(), cmap="gray")
        grey = shown.to_rgba(image[0].numpy())[..., 0]
        assert np.abs(grey - scaled[0].numpy()).max() < 1 / 255
    assert torch.equal(scale_each(torch.full((1, 1, 2, 2), 7.0)), torch.zeros(1, 1, 2, 2))


def test_scale_each_keeps_pixels_that_are_not_finite_visible() -> None:
    image = torch.tensor([0.0, 4.0, torch.inf, torch.nan]).view(1, 1, 2, 2)
    assert scale_each(image).flatten().tolist() == pytest.approx([0, 1, torch.nan, torch.nan], nan_ok=True)
