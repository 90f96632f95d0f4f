"""Pictures of degraded and restored images side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.events import Pictures
from dipddpm.core.images import clip_visibly

CONTRAST = 2
"""Factor by which a difference is enlarged to be visible: 64 grey levels become black or white."""


def in_image_size(y: Tensor, degradation: Degradation, shape: Sequence[int]) -> Tensor:
    """Return what was measured as a picture of images of `shape`: y itself, or A+ y if y has another size."""
    return y if y.shape == shape else degradation.operator.pinv(y)


def side_by_side(y: Tensor, degradation: Degradation, images: Tensor, truth: Tensor | None) -> Tensor:
    """Stack degraded (in image size), restored and true images, (N, 3, C, H, W).

    Without a truth, the third is the difference between the first two where something is measured; grey is none.
    """
    degraded = in_image_size(y, degradation, images.shape)
    if truth is None:
        measured = degradation.operator.measured(y) if y.shape == images.shape else 1
        truth = 0.5 + CONTRAST * (degraded - images) * measured
    return torch.stack([degraded, images, truth], 1)


def comparison(
    name: str,
    rows: Sequence[Tensor] | Tensor,
    *,
    step: int,
    title: str,
    numbered: bool = False,
    has_truth: bool = True,
) -> Pictures:
    """Return a picture of rows of one size, as made by `side_by_side`, in a layout about as wide as high.

    Beside rows in colour, grey rows become RGB.
    """
    panels = ("degraded", "restored", "truth" if has_truth else "difference")
    channels = max(row.shape[1] for row in rows)
    return Pictures(
        name=name,
        images=clip_visibly(torch.cat([row.expand(-1, channels, -1, -1) for row in rows])),
        step=step,
        title=title,
        columns=len(panels) * max(1, round(math.sqrt(len(rows) / len(panels)))),
        panels=panels,
        numbered=numbered,
    )
