"""Test images for restoration, 28x28 and grey, in the prior's domain (data sets) and outside it (generated offline).

Image i of a generated set doesn't depend on how many images are requested. Generated images are rounded to 8 bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dipddpm.core import data
from dipddpm.core.compute.rng import derive
from dipddpm.core.data import ImageSet

SIDE = 28
FINE = 4
"""The factor by which shapes are drawn larger before they are averaged down."""
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket")
"""Photographs that ship inside scikit-image."""
LEAVES = 600
"""The number of discs of an image, enough to cover it many times."""

Draw = Callable[[np.random.Generator], Image.Image]


def load(name: str, count: int, *, first: int = 0, root: Path | None = None) -> ImageSet:
    """Return `count` images of a set from index `first` on: a data set's test images, or generated images.

    Raises UserError if a data set is missing or has too few images.
    """
    if name in data.CATALOGUE:
        return data.load(name, "test", root=root).take(range(first, first + count))
    images = np.stack([np.asarray(_MADE[name](_generator(name, index))) for index in range(first, first + count)])
    pixels = torch.from_numpy(images).view(count, 1, SIDE, SIDE)
    return ImageSet(name, "made", pixels, torch.zeros(count, dtype=torch.int64), (), source="drawn here")


def _generator(name: str, index: int) -> np.random.Generator:
    return np.random.default_rng(derive(0, f"{name} {index} of the head-to-head"))


def glyph(rng: np.random.Generator) -> Image.Image:
    """Draw a character in Pillow's font, rotated, sheared, stretched and shifted; light on dark or dark on light."""
    side = SIDE * FINE
    image = Image.new("L", (side, side), 0)
    font = ImageFont.load_default(size=round(side * rng.uniform(0.6, 0.9)))
    ImageDraw.Draw(image).text((side / 2, side / 2), str(rng.choice(list(CHARACTERS))), 255, font, anchor="mm")
    angle, shear = np.radians(rng.uniform(-25, 25)), rng.uniform(-0.3, 0.3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]]) @ np.diag(rng.uniform(0.9, 1.2, 2))
    offset = side / 2 - matrix @ np.full(2, side / 2) + rng.uniform(-0.06, 0.06, 2) * side
    coefficients = (*matrix[0], offset[0], *matrix[1], offset[1])
    moved = image.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    low, high = sorted(rng.uniform(0, 255, 2))
    low, high = (min(low, 80), max(high, 175)) if rng.random() < 0.5 else (max(high, 175), min(low, 80))
    return moved.point(lambda value: low + (high - low) * value / 255).reduce(FINE)


def patch(rng: np.random.Generator) -> Image.Image:
    """Cut a square with sides of 56 to 224 pixels out of a photograph, and average it down to 28x28."""
    photograph = _photograph(str(rng.choice(PHOTOGRAPHS)))
    side = int(rng.integers(2 * SIDE, 8 * SIDE + 1))
    left, top = (int(rng.integers(0, length - side + 1)) for length in photograph.size)
    return photograph.resize((SIDE, SIDE), Image.Resampling.BOX, (left, top, left + side, top + side))


def leaves(rng: np.random.Generator) -> Image.Image:
    """Draw dead leaves: discs of random grey that occlude each other, with radii distributed as r^-3 (Lee et al. 2001).

    Through occlusion and scale invariance they are the simplest images with the statistics of natural images.
    """
    side = SIDE * FINE
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    smallest, largest = 1.0 * FINE, 14.0 * FINE
    # The inverse distribution function of r^-3 between the two radii.
    share = rng.random(LEAVES)
    radii = (smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5
    centres = rng.uniform(-largest, side + largest, (LEAVES, 2))
    for radius, (x, y), grey in zip(radii, centres, rng.integers(0, 256, LEAVES), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(grey))
    return image.reduce(FINE)


@functools.cache
def _photograph(name: str) -> Image.Image:
    from skimage import data as photographs

    pixels: NDArray[np.uint8] = getattr(photographs, name)()
    return Image.fromarray(pixels).convert("L")


_MADE: dict[str, Draw] = {"glyphs": glyph, "patches": patch, "leaves": leaves}
