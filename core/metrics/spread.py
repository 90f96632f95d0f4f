"""Detect samples that leave the range of real images, by the spread of their brightness and contrast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dipddpm.core.images import to_model
from dipddpm.core.metrics.usable import LIMIT

FAR = 4.0
"""Samples whose spread is more than this many times that of real images are far from them."""
LEAST = 0.5
"""A spread up to this is never far: real images that are all equally bright have a spread of nearly 0."""
FAR_FROM_ANY = 2.0
"""A spread of more than this is far from any images: those in [-1, 1] reach 1 at most."""
MEASURED = 2_000
"""The largest number of real images that are measured."""


@dataclass(frozen=True)
class Spread:
    """The spread of images in model space, where images lie in [-1, 1], about `center`, a mean brightness."""

    center: float
    brightness: float
    """Root mean square distance of the means of the images from `center`: their standard deviation if it is theirs."""
    contrast: float
    """Mean of the standard deviations of the pixels inside each image."""

    @classmethod
    def of(cls, images: Tensor, center: float | None = None) -> Self:
        """Measure images (N, C, H, W) in model space, about their own mean if `center` is None.

        Images with values that aren't finite or far from any pixel's are left out; without any other, all is NaN.
        """
        pixels = images.detach().flatten(1)
        pixels = pixels[(pixels.abs() < LIMIT).all(1)].double()
        if not len(pixels):
            return cls(torch.nan, torch.nan, torch.nan)
        means = pixels.mean(1)
        center = float(means.mean()) if center is None else center
        contrast = float(pixels.std(1, correction=0).mean())
        return cls(center, float((means - center).square().mean().sqrt()), contrast)

    @classmethod
    def of_training(cls, images: Tensor) -> Self:
        """Measure the training images, uint8: 2,000 of them, chosen at random, if there are more."""
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        return cls.of(to_model(images[order[:MEASURED].to(images.device)]))


def drift_text(samples: Tensor, real: Spread | None = None) -> str:
    """Say how far samples (N, C, H, W) in model space are from the range of real images; "" if they aren't far.

    `real` is the spread of the training images; None if they are unknown, and then only the range [-1, 1] counts.
    """
    ours = Spread.of(samples, real.center if real else 0.0)
    measures = (
        ("means of the samples", "those of the training images", ours.brightness, real.brightness if real else None),
        ("pixels of a sample", "those of a training image", ours.contrast, real.contrast if real else None),
    )
    sentences = []
    for noun, others, value, usual in measures:
        limit = FAR_FROM_ANY if usual is None else max(LEAST, FAR * usual)
        against = "those of images over 1 at most" if usual is None else f"{others} over {usual:.2g}"
        if value > limit:
            amount = f"{value:.2g} (standard deviation, where images lie in [-1, 1])"
            sentences.append(f"The {noun} spread over {amount}, {against}.")
    return " ".join(sentences)


def scale_each(images: Tensor) -> Tensor:
    """Scale each image (N, C, H, W) to [0, 1] by its own smallest and largest pixel; pixels that aren't finite are NaN.

    An image of one value becomes 0 everywhere.
    """
    finite = images.isfinite()
    low = images.masked_fill(~finite, torch.inf).amin((1, 2, 3), keepdim=True)
    high = images.masked_fill(~finite, -torch.inf).amax((1, 2, 3), keepdim=True)
    width = (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    return ((images - low) / width).masked_fill(~finite, torch.nan)
