"""The values of a picture as its file stores them, and their scaling to [0, 1]. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dipddpm.core.errors import UserError

MASK_REMEDY = "Make missing pixels black (0) and known ones white (255)."
NOT_FINITE_REMEDIES = {
    "images.white": "Give them values, and mark them as missing in a mask.",
    "data.white": "Give them values, or leave the file out of the folder.",
    "": MASK_REMEDY,
}
"""The remedy for pixels that are not finite, by the option that sets the value of white."""


class UnreadableError(Exception):
    """A picture is of a kind that isn't read; the text says of which."""


class OutOfRangeError(Exception):
    """A picture has values that can't be mapped to [0, 1] without guessing."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The values of a picture as stored, upright."""

    values: NDArray[Any]
    """Integers or floats, (H, W, C); C is 1 for grey and 3 for RGB."""
    white: float
    """The value of white; 0 for signed integers, in which it isn't defined."""
    alpha: NDArray[Any] | None = None
    """The opacity in [0, 1], (H, W, 1)."""
    premultiplied: bool = False
    """True if the colours are multiplied by the opacity already."""
    profile: bytes | None = None
    """The colour profile."""
    doubts: tuple[str, ...] = ()
    """Sentences about what may be wrong with the file."""
    declared: str = ""
    """Which colours other than those of sRGB the file declares without a profile, such as a gamma; empty for none."""
    converted: str = ""
    """The colour space of the file, such as CMYK, if its colours have been converted to sRGB."""


def scaled(
    samples: Samples, path: Path, white: float, option: str, dtype: DTypeLike = np.float32
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the values in [0, 1], not multiplied by the opacity, and sentences about what may be wrong with them.

    `white` and `option` are those of `pictures.decode`; white is always 255 in bytes. Raises `UserError` for values
    that aren't finite, `OutOfRangeError` for values outside [0, white], and `UnreadableError` for signed integers
    without `white`.
    """
    values = samples.values
    if not values.size:
        raise EOFError("no pixels")  # a damaged header
    if values.dtype == np.uint8:
        colours = values.astype(dtype) / np.dtype(dtype).type(255)
        return _divided_by_opacity(colours, samples), samples.doubts
    smallest, largest = values.min(), values.max()
    scale = (largest or 1.0) if white == math.inf else white or samples.white
    if not scale:
        raise UnreadableError("signed integers, in which white is not defined")
    refuse_not_finite(values, path, option)
    if not (smallest >= 0 and largest <= scale):
        raise OutOfRangeError(f"values outside [0, {scale:,.15g}]: {smallest:,.7g} to {largest:,.7g}")
    doubts = samples.doubts
    if not white and samples.white > 255 and 0 < largest < samples.white / 4:
        bits = max(8, int(largest).bit_length())
        doubts += (
            f"{path} is very dark: its largest value is {largest:,} of {samples.white:,.0f}. If its white has {bits} "
            f"bits, add --set {option}={2**bits - 1}.",
        )
    if dtype == np.float32 and values.dtype.itemsize <= 2 and np.float32(scale) == scale:
        unit = np.divide(values, np.float32(scale), dtype=np.float32)  # the same values, without a copy in doubles
    else:
        unit = (values / scale).astype(dtype)
    return _divided_by_opacity(unit, samples), doubts


def refuse_not_finite(values: NDArray[Any], path: Path, option: str = "images.white") -> None:
    """Raise UserError for values among which there is NaN or infinity."""
    if not np.isfinite([values.min(), values.max()]).all():
        raise UserError(f"{path} has pixels that are not finite (NaN or infinity).", NOT_FINITE_REMEDIES[option])


def _divided_by_opacity(colours: NDArray[Any], samples: Samples) -> NDArray[Any]:
    if samples.premultiplied and samples.alpha is not None:
        alpha = samples.alpha.astype(colours.dtype)
        np.clip(np.divide(colours, alpha, where=alpha > 0, out=colours), 0, 1, out=colours)
    return colours


def upright(samples: Samples, orientation: int) -> Samples:
    """Turn and mirror the values by an EXIF orientation, 1 to 8; any other number leaves them as they are."""

    def turned(values: NDArray[Any]) -> NDArray[Any]:
        if orientation in {5, 6, 7, 8}:
            values = values.swapaxes(0, 1)
        if orientation in {3, 4, 7, 8}:
            values = values[::-1]
        return values[:, ::-1] if orientation in {2, 3, 6, 7} else values

    alpha = samples.alpha
    return replace(samples, values=turned(samples.values), alpha=None if alpha is None else turned(alpha))
