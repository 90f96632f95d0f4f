"""Bicubic interpolation with back-projection, the classic method for a picture that is too small."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.degrade import BlockMean
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.classical.pictures import with_gaussian_noise

ITERATIONS = 10
"""Most back-projections."""
LEAST_NOISE = 0.5 / 255
"""Root mean square difference from the measurements at which back-projection ends without noise."""


def bicubic(case: Case) -> Tensor:
    """Return the bicubic interpolation of y, corrected until its block means agree with y up to the noise.

    Each correction adds the interpolated difference (iterative back-projection, Irani & Peleg, 1991).
    """
    case, sigma, finish = with_gaussian_noise(case)
    operator = case.degradation.operator
    assert isinstance(operator, BlockMean)
    x = _enlarge(case.y, operator)
    for _ in range(ITERATIONS):
        difference = case.y - operator.A(x)
        if float(difference.square().mean()) <= max(sigma, LEAST_NOISE) ** 2:
            break
        x = x + _enlarge(difference, operator)
    return finish(x)


def _enlarge(y: Tensor, operator: BlockMean) -> Tensor:
    """Interpolate block means; the part of a last block that sticks out of the image is cut off."""
    height, width = operator.size
    enlarged = F.interpolate(y, scale_factor=operator.factor, mode="bicubic", align_corners=False)
    return enlarged[..., :height, :width]
