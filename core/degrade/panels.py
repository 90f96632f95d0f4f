"""Pictures of degraded and restored images side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.events import Pictures
from dipddpm.core.images import clip_visibly


def side_by_side(y: Tensor, degradation: Degradation, images: Tensor, truth: Tensor | None) -> Tensor:
    """Stack degraded (in image size), restored and (where known) true images, (N, panels, C, H, W)."""
    degraded = y if y.shape == images.shape else degradation.operator.pinv(y)
    return torch.stack([degraded, images] if truth is None else [degraded, images, truth], 1)


def comparison(
    name: str, rows: Sequence[Tensor] | Tensor, *, step: int, title: str, numbered: bool = False
) -> Pictures:
    """Return a picture of rows of one size, as made by `side_by_side`, in a layout about as wide as high.

    Beside rows in colour, grey rows become RGB.
    """
    panels = ("degraded", "restored", "truth")[: len(rows[0])]
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
