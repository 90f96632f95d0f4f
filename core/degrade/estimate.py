"""Estimation of the level of Gaussian noise in a measurement."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.degrade.noise import GaussianNoise, SaltAndPepper
from dipddpm.core.errors import UserError

TO_DEVIATION = 1.4826
"""Ratio of the standard deviation of Gaussian n to the median of |n|."""
_REMEDY = "Leave out blind=true, and give the task a sigma."
MIN_SIGMA = 1 / 255
"""Least estimated noise level, one grey level; the estimate can't distinguish less noise from fine texture."""


def estimate_sigma(y: Tensor, measured: Tensor) -> Tensor:
    """Estimate the standard deviation of white Gaussian noise in each image of y (N, C, H, W), (N,), in units of y.

    The estimate is the median absolute response to the difference of two Laplacians (of norm 6), which is zero on
    planes and on straight edges along the axes (Immerkaer, CVIU 1996). The median, as in Donoho & Johnstone 1994, is
    less affected by edges than the mean in the original. Fine texture counts as noise. Only 3x3 neighbourhoods that
    are fully `measured` (shaped like y) are used; an image without any gets the median of the other images' estimates.
    Raises UserError if no image has such a neighbourhood.
    """
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]], device=y.device, dtype=y.dtype) / 6
    planes = y.flatten(0, 1).unsqueeze(1)
    if min(y.shape[-2:]) < 3:
        problem = "The noise level can't be estimated from a measurement under 3x3 pixels."
        raise UserError(problem, _REMEDY)
    response = F.conv2d(planes, kernel.view(1, 1, 3, 3)).abs()
    fully_measured = F.avg_pool2d(measured.to(y.dtype).flatten(0, 1).unsqueeze(1), 3, stride=1) > 1 - 1e-4
    missing = torch.full_like(response, torch.nan)
    sigma = torch.where(fully_measured, response, missing).view(len(y), -1).nanmedian(1).values * TO_DEVIATION
    if bool(sigma.isnan().all()):
        problem = "The noise level can't be estimated, since no block of 3x3 pixels is fully measured."
        raise UserError(problem, _REMEDY)
    return torch.where(sigma.isnan(), sigma.nanmedian(), sigma)


def with_noise_level(y: Tensor, degradation: Degradation) -> Degradation:
    """Return the degradation; if it is blind, with Gaussian noise of the level that is estimated from y.

    A degradation has one noise level for all images, so it is the median of their estimates. Salt-and-pepper noise has
    no level and is returned as it is.
    """
    if not degradation.blind or isinstance(degradation.noise, SaltAndPepper):
        return degradation
    sigma = estimate_sigma(y, degradation.operator.measured(y)).median().item()
    return replace(degradation, noise=GaussianNoise(max(sigma, MIN_SIGMA)), blind=False)
