"""How much Gaussian noise a measurement has, where nobody tells."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.degrade.noise import GaussianNoise, SaltAndPepper
from dipddpm.core.errors import UserError

TO_DEVIATION = 1.4826
"""From the median of |n| to the standard deviation of n, for Gaussian n."""
MIN_SIGMA = 1 / 255
"""Less noise than a grey level is not told apart from fine texture."""


def estimate_sigma(y: Tensor, measured: Tensor) -> Tensor:
    """The standard deviation of white Gaussian noise in y (N, C, H, W), image by image, (N,), on the scale of y.

    The median absolute response to the difference of two Laplacians, which planes and straight edges along the axes
    don't excite (Immerkaer, CVIU 1996), of norm 6; the median in place of his mean, as in Donoho & Johnstone 1994,
    keeps edges out. Fine texture counts as noise. Looked at are the 3x3 neighbourhoods that are `measured` as a whole,
    shaped like y; an image without any has the median of the others. Raises UserError where no image has one.
    """
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=y.device, dtype=y.dtype) / 6
    planes = y.flatten(0, 1).unsqueeze(1)
    if min(y.shape[-2:]) < 3:
        raise UserError("The noise level can't be estimated on so few pixels.", "Give the task a sigma.")
    response = F.conv2d(planes, kernel.view(1, 1, 3, 3)).abs()
    fully_measured = F.avg_pool2d(measured.to(y.dtype).flatten(0, 1).unsqueeze(1), 3, stride=1) > 1 - 1e-4
    missing = torch.full_like(response, torch.nan)
    sigma = torch.where(fully_measured, response, missing).view(len(y), -1).nanmedian(1).values * TO_DEVIATION
    if bool(sigma.isnan().all()):
        raise UserError("The noise level can't be estimated: no 3x3 pixels are measured.", "Give the task a sigma.")
    return torch.where(sigma.isnan(), sigma.nanmedian(), sigma)


def with_noise_level(y: Tensor, degradation: Degradation) -> Degradation:
    """The same degradation; where its noise level isn't told, with Gaussian noise of the level that y shows.

    All images of a degradation have one level, so it is the median of theirs. Impulses have none, and stay.
    """
    if not degradation.blind or isinstance(degradation.noise, SaltAndPepper):
        return degradation
    sigma = estimate_sigma(y, degradation.operator.measured(y)).median().item()
    return replace(degradation, noise=GaussianNoise(max(sigma, MIN_SIGMA)), blind=False)
