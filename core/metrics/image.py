"""PSNR and SSIM of restored images against the truth, for each image of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.images import clip_visibly

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
"""Width and standard deviation of SSIM's Gaussian window, in pixels, as in Wang et al. 2004."""
C1, C2 = 0.01**2, 0.03**2


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio in dB, (N,), after clipping `images` to [0, 1].

    Both tensors are (N, C, H, W); the peak is 1, and the mean squared error is over all channels and pixels of an
    image. The PSNR of an image equal to its truth is infinite. The PSNR of an image that isn't finite is NaN.
    """
    error = (clip_visibly(images) - truth).square().flatten(1).mean(1)
    return -10 * error.log10()


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity, (N,), after clipping `images` to [0, 1] (Wang et al., IEEE TIP 2004).

    Both tensors are (N, C, H, W), at least 11 pixels a side (ValueError otherwise). The window is Gaussian, 11x11 with
    sigma 1.5; K1 = 0.01, K2 = 0.03, range 1; variances are population variances; the mean is over all positions where
    the window fits, then over the channels. This equals scikit-image's `structural_similarity` with
    `gaussian_weights` and without `use_sample_covariance`.
    """
    if not has_ssim(images):
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} pixels a side")
    x, y = clip_visibly(images), truth
    mean_x, mean_y = _windowed(x), _windowed(y)
    var_x = _windowed(x * x) - mean_x**2
    var_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    return (luminance * structure).flatten(1).mean(1)


def has_ssim(images: Tensor) -> bool:
    """Return whether images are large enough for SSIM's window."""
    return min(images.shape[-2:]) >= SSIM_WINDOW


def ssim_scores(images: Tensor, truth: Tensor) -> list[float]:
    """Return each image's SSIM, or an empty list if the images are smaller than SSIM's window."""
    return ssim(images, truth).tolist() if has_ssim(images) else []


def _windowed(images: Tensor) -> Tensor:
    """Return Gaussian-weighted means around every pixel where the whole window fits."""
    offsets = torch.arange(SSIM_WINDOW, device=images.device, dtype=images.dtype) - SSIM_WINDOW // 2
    window = torch.softmax(-offsets.square() / (2 * SSIM_SIGMA**2), 0)
    planes = images.flatten(0, 1).unsqueeze(1)
    smooth = F.conv2d(F.conv2d(planes, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))
    return smooth.view(*images.shape[:2], *smooth.shape[-2:])
