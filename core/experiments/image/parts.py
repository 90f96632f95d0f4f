"""Parts of a case: the measurements of some pixels of the picture, with the operator of these pixels alone."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dipddpm.core.degrade import BlockMean, CircularBlur, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.experiments.image.tiles import Window

FAINT = 1e-3
"""A blur's kernel ends where its values fall below this share of the largest one."""
HOLES = 3
"""Sides of a tile, in widths of the largest hole: so that known pixels surround every hole."""


def cut(case: Case, window: Window, rows: slice, seed: int) -> Case:
    """Return the case of a window of the measurements of the pictures at `rows`, with its own seed.

    The window counts pixels of y; a blur wraps around at the borders of the window.
    """
    y = window.of(case.y[rows])
    operator = _cut_operator(case.degradation.operator, window, rows)
    height, width = (side * factor_of(case) for side in (window.height, window.width))
    shape = (len(y), case.shape[1], height, width)
    if isinstance(operator, CircularBlur):
        y = _taper(y, operator, blur_radius(operator))
    return replace(case, y=y, degradation=replace(case.degradation, operator=operator), shape=shape, seed=seed)


def stack(parts: list[Case]) -> Case:
    """Join cases of one shape, each of one picture, whose operators differ only in their masks."""
    first = parts[0]
    operators = [part.degradation.operator for part in parts]
    masks = [operator.mask for operator in operators if isinstance(operator, Mask)]
    operator = Mask(torch.cat(masks)) if masks else first.degradation.operator
    y = torch.cat([part.y for part in parts])
    degradation = replace(first.degradation, operator=operator)
    return replace(first, y=y, degradation=degradation, shape=(len(parts), *first.shape[1:]))


def factor_of(case: Case) -> int:
    """Return how many times as long the sides of the restored pictures are as those of y."""
    return case.degradation.operator.factor if isinstance(case.degradation.operator, BlockMean) else 1


def blur_radius(operator: Operator) -> int:
    """Return the largest distance in pixels, along an axis, over which the operator spreads a pixel; 0 without blur."""
    return 0 if not isinstance(operator, CircularBlur) else max(side // 2 for side in _kernel(operator).shape)


def largest_hole(operator: Operator) -> int:
    """Return the width in pixels of the largest square of missing pixels, roughly; 0 without a mask."""
    if not isinstance(operator, Mask):
        return 0
    distances = (distance_transform_edt(mask == 0).max() for mask in operator.mask[:, 0].cpu().numpy())
    return 2 * int(max(distances))


def pad_for_blur(case: Case) -> tuple[Case, int]:
    """Mirror blurred pictures at their borders by the radius of the blur; return the case and the pixels added.

    A camera blurs across the border of its picture, where the operator's circular boundary would wrap around.
    """
    blur = case.degradation.operator
    if not isinstance(blur, CircularBlur):
        return case, 0
    radius = blur_radius(blur)
    pad = min(radius, *(side - 1 for side in case.y.shape[-2:]))
    y = F.pad(case.y, (pad, pad, pad, pad), mode="reflect") if pad else case.y
    n, channels, height, width = y.shape
    operator = CircularBlur(_kernel(blur), (height, width))
    degradation = replace(case.degradation, operator=operator)
    return replace(case, y=y, degradation=degradation, shape=(n, channels, height, width)), pad


def _cut_operator(operator: Operator, window: Window, rows: slice) -> Operator:
    if isinstance(operator, Mask):
        return Mask(window.of(operator.mask if len(operator.mask) == 1 else operator.mask[rows]))
    if isinstance(operator, BlockMean):
        size = window.height * operator.factor, window.width * operator.factor
        return BlockMean(operator.factor, size, operator.count.device)
    if isinstance(operator, CircularBlur):
        return CircularBlur(_kernel(operator), (window.height, window.width))
    assert isinstance(operator, Identity)
    return operator


def _kernel(blur: CircularBlur) -> Tensor:
    """Return the kernel of a blur, of odd sides, without the faint values around it."""
    height, width = blur.size
    response = torch.fft.irfft2(blur.transfer, s=blur.size)
    rows, columns = torch.nonzero(response > FAINT * response.max(), as_tuple=True)
    # A pixel beyond the half of the picture lies before the centre.
    up = min(int(torch.minimum(rows, height - rows).max()), (height - 1) // 2)
    left = min(int(torch.minimum(columns, width - columns).max()), (width - 1) // 2)
    centred = torch.roll(response, (up, left), (0, 1))[: 2 * up + 1, : 2 * left + 1]
    kernel = centred.clamp(min=0)
    return kernel / kernel.sum()


def _taper(y: Tensor, blur: CircularBlur, margin: int) -> Tensor:
    """Blend the outer pixels of y with their blurred values, so that opposite borders continue each other.

    Otherwise the step between them would ring through the whole restoration.
    """
    ramps = [((torch.arange(side, device=y.device) + 0.5) / max(1, margin)).clamp(max=1) for side in y.shape[-2:]]
    rows, columns = (torch.minimum(ramp, ramp.flip(0)).to(y.dtype) for ramp in ramps)
    weights = torch.outer(rows, columns)
    return weights * y + (1 - weights) * blur.A(y)
