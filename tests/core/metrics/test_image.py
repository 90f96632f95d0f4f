from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dipddpm.core.metrics.image import psnr, ssim, ssim_scores


def pair(channels: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * width + channels)
    truth = torch.rand(3, channels, height, width, generator=generator)
    noise = torch.randn(truth.shape, generator=generator)
    return truth + 0.2 * noise, truth


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 17, 40), (1, 11, 11)])
def test_psnr_and_ssim_match_scikit_image(channels: int, height: int, width: int) -> None:
    images, truth = pair(channels, height, width)
    a, b = images.clamp(0, 1).double().numpy(), truth.double().numpy()
    for i in range(len(a)):
        theirs = structural_similarity(
            a[i], b[i], data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=0
        )
        assert ssim(images.double(), truth.double())[i].item() == pytest.approx(theirs, abs=1e-9)
        theirs = peak_signal_noise_ratio(b[i], a[i], data_range=1)
        assert psnr(images, truth)[i].item() == pytest.approx(theirs, abs=1e-4)


def test_psnr_and_ssim_are_perfect_for_same_image() -> None:
    _, truth = pair(1, 28, 28)
    assert psnr(truth, truth).tolist() == [math.inf] * 3
    assert np.allclose(ssim(truth, truth), 1)


def test_psnr_and_ssim_clip_values_out_of_range() -> None:
    truth = torch.ones(1, 1, 12, 12)
    assert psnr(truth * 7, truth).item() == math.inf
    assert ssim(truth * 7, truth).item() == pytest.approx(1)


def test_ssim_refuses_image_smaller_than_window() -> None:
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(torch.zeros(1, 1, 10, 28), torch.zeros(1, 1, 10, 28))
    assert ssim_scores(torch.zeros(1, 1, 10, 28), torch.zeros(1, 1, 10, 28)) == []
    images = torch.rand(2, 1, 11, 11, generator=torch.Generator().manual_seed(0))
    assert ssim_scores(images, images) == pytest.approx([1, 1])
