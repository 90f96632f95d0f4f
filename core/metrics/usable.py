"""Which images are none, because their values are not finite or far from any pixel's, and how to say so."""

from __future__ import annotations

from torch import Tensor

from dipddpm.core.errors import UserError

LIMIT = 1e4
"""Size from which a value is far from any pixel's, which is at most 1."""


def count_unusable(images: Tensor) -> int:
    """Return how many of the images (N, ...) have a value that isn't finite or reaches `LIMIT`."""
    return int((~(images.abs() < LIMIT)).flatten(1).any(1).sum())


def unusable_text(images: Tensor, noun: str) -> str:
    """Say how many of the images (N, ...), which are called `noun`, are unusable and why; "" if none is."""
    unusable = count_unusable(images)
    if not unusable:
        return ""
    not_finite = int((~images.isfinite()).flatten(1).any(1).sum())
    if not_finite:
        return f"{not_finite} of {len(images)} {noun} are not finite"
    largest = f"{images.abs().max().item():.1g}"
    return f"{unusable} of {len(images)} {noun} have values up to {largest}, but a pixel's is at most 1"


def refuse_unusable(images: Tensor, noun: str, remedy: str) -> None:
    """Raise UserError with this remedy if any image (N, ...) is unusable."""
    if text := unusable_text(images, noun):
        raise UserError(f"{text}.", remedy)
