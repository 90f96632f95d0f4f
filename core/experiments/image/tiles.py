"""Tiles of a large picture: where they lie, and how their restorations are blended without a seam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, by its first row and column and its sides."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """Return this part of images (..., H, W), as a view."""
        return images[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def scaled(self, factor: int) -> Window:
        """Return the same window in a picture whose sides are `factor` times as long."""
        return Window(self.top * factor, self.left * factor, self.height * factor, self.width * factor)


def divide(size: tuple[int, int], side: int, overlap: int) -> list[Window]:
    """Cover a picture (H, W) with windows of one shape, row by row; sides are at most `side`, or H or W if smaller.

    Neighbours overlap by at least `overlap` pixels, and by less than half of their side.
    """
    (height, tops), (width, lefts) = (_spans(length, side, overlap) for length in size)
    return [Window(top, left, height, width) for top in tops for left in lefts]


def _spans(length: int, side: int, overlap: int) -> tuple[int, list[int]]:
    """Return the length of the windows along an axis, and their first pixels."""
    if length <= side:
        return length, [0]
    overlap = min(overlap, (side - 1) // 2)
    count = math.ceil((length - overlap) / (side - overlap))
    span = math.ceil((length + (count - 1) * overlap) / count)
    return span, [round(index * (length - span) / (count - 1)) for index in range(count)]


def blending_weights(window: Window, size: tuple[int, int], overlap: int, margin: int = 0) -> Tensor:
    """Return the weights (h, w) of a window's pixels in the picture (H, W): 1 inside, falling to 0 at inner borders.

    The outer `margin` pixels at a border inside the picture get the weight 0, because a restoration is not valid there.
    At the picture's own border there is no neighbour, so the weights stay 1.
    """
    rows = _ramp(window.top, window.height, size[0], overlap, margin)
    columns = _ramp(window.left, window.width, size[1], overlap, margin)
    return torch.outer(rows, columns)


def _ramp(first: int, length: int, whole: int, overlap: int, margin: int) -> Tensor:
    """Return the weights along an axis: a raised cosine over the rest of the overlap, beyond the margin."""
    rise = max(1, overlap - 2 * margin)
    distance = torch.arange(length, dtype=torch.float32) + 0.5 - margin
    ramp = (0.5 - 0.5 * torch.cos(math.pi * (distance / rise).clamp(0, 1))).clamp(min=1e-4)
    ramp = torch.where(distance > 0, ramp, 0.0)
    weights = torch.ones(length)
    if first > 0:
        weights = weights * ramp
    if first + length < whole:
        weights = weights * ramp.flip(0)
    return weights


class Canvas:
    """Pictures (N, C, H, W) that are put together from the weighted restorations of tiles."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.sum = torch.zeros(shape)
        self.weight = torch.zeros(shape[-2:])

    def add(self, window: Window, images: Tensor, weights: Tensor, rows: slice = slice(None)) -> None:
        """Add the restorations (n, C, h, w) of a window, weighted by (h, w), to the pictures at `rows`.

        The weights count once for all pictures: with the tiles of the first ones.
        """
        window.of(self.sum[rows]).add_(images.cpu() * weights)
        if not rows.start:
            window.of(self.weight).add_(weights)

    @property
    def images(self) -> Tensor:
        """The weighted means, (N, C, H, W); 0 where no tile has been added."""
        return self.sum / self.weight.clamp(min=1e-12)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"sum": self.sum, "weight": self.weight}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore a state that `state_dict` returned."""
        self.sum, self.weight = state["sum"].cpu().clone(), state["weight"].cpu().clone()
