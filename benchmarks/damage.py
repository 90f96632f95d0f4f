"""Pictures of scikit-image and their damage, drawn by numpy and stored as 8 bits, as people have them.

The damage is that of the whole picture, also where a benchmark takes only the square in its middle.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from dipddpm.core.errors import UserError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Known: TypeAlias = npt.NDArray[np.bool_]
Damage: TypeAlias = Literal["noise", "random", "text"]
DAMAGES: Mapping[Damage, str] = {
    "noise": "Gaussian noise of sigma 25, clipped and rounded",
    "random": "50% of the pixels missing at random",
    "text": "lines of text over the picture",
}
SIGMA = 25.0
WORDS = "The quick brown fox jumps over the lazy dog. "
LETTERS = 22
"""Height of the text in pixels; a line has 40 pixels, so that about 11% of the pixels are missing."""


@dataclass(frozen=True)
class Damaged:
    """A picture (H, W) or (H, W, 3), its truth and the pixels (H, W) that are known, if some are missing."""

    pixels: Pixels
    truth: Pixels
    known: Known | None


def truth_of(name: str) -> Pixels:
    """Return a picture of scikit-image by its name, such as camera. Raises UserError if there is none."""
    load: Any = getattr(data, name, None)
    if load is None:
        raise UserError(f"scikit-image has no picture {name!r}.", "Take camera or astronaut, for example.")
    return np.asarray(load(), np.uint8)


def damaged(name: str, damage: str, size: int = 0) -> Damaged:
    """Return a damaged picture, or the square of `size` pixels in its middle. Raises UserError for unknown names."""
    if damage not in get_args(Damage):
        raise UserError(f"There is no damage {damage!r}.", f"Choose one of: {', '.join(DAMAGES)}.")
    truth = truth_of(name)
    random = np.random.default_rng(zlib.crc32(f"{name} {damage}".encode()))
    known: Known | None = None
    if damage == "noise":
        pixels = noisy(truth, SIGMA, random)
    else:
        height, width = truth.shape[:2]
        known = random.random((height, width)) >= 0.5 if damage == "random" else text_mask(height, width)
        pixels = np.where(known if truth.ndim == 2 else known[..., None], truth, 0).astype(np.uint8)
    part = middle(truth, size)
    return Damaged(pixels[part], truth[part], None if known is None else known[part])


def noisy(truth: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Add Gaussian noise, clip to 0..255 and round."""
    values = truth + sigma * random.standard_normal(truth.shape)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def text_mask(height: int, width: int) -> Known:
    """Return the pixels that lines of text leave free."""
    page = Image.new("L", (width, height), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(LETTERS)
    for line, top in enumerate(range(6, height, LETTERS + 18)):
        start = 7 * line % len(WORDS)
        draw.text((4, top), (WORDS[start:] + WORDS * (1 + width // 300))[: width // 4], font=font, fill=0)
    return np.asarray(page) > 127


def middle(pixels: npt.NDArray[Any], size: int) -> tuple[slice, slice]:
    """Return the square of `size` pixels in the middle of a picture; 0 is the whole picture."""
    tops = [(side - size) // 2 if size else 0 for side in pixels.shape[:2]]
    return slice(tops[0], tops[0] + size if size else None), slice(tops[1], tops[1] + size if size else None)
