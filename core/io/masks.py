"""Read mask files, which say which pixels of a picture are missing. Loads no torch."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipddpm.core.errors import UserError
from dipddpm.core.io.pictures import Picture, decode, version
from dipddpm.core.io.samples import MASK_REMEDY

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MAX_GRADED = 0.5
"""The largest share of grey pixels, neither black nor white, in a mask; a picture has more."""
_MAX_LABEL = 100


def read_mask(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.bool_]:
    """Return a mask (H, W), which has the size of its picture, read-only: True where pixels are known.

    Black is missing and white is known. Of a mask of two grey levels the darker one is missing, whatever they are, so
    that 0 and 1 count as meant; of any other mask, what is below half of white. White is the largest value of a file
    with more than 8 bits. A mask with transparent pixels holds either black on a transparent layer, which is missing,
    or a picture with holes, which are missing.

    Raises `UserError` for a mask of another size, for one that misses no pixel or all, for one that is mostly grey, and
    for a file that can't be read.
    """
    return _known(path, size, version(path))


@lru_cache(maxsize=4)
def _known(path: Path, size: tuple[int, int] | None, _version: tuple[int, ...]) -> NDArray[np.bool_]:
    picture = decode(path, math.inf, option="")
    if size and picture.colour.shape[:2] != size:
        ours, theirs = (f"{width}x{height}" for height, width in (picture.colour.shape[:2], size))
        remedy = "Give a mask of the image's size."
        if picture.colour.shape[:2] == size[::-1]:
            remedy = "Turn the mask as the image is seen: images are turned upright by their EXIF orientation."
        raise UserError(f"The mask {path} has {ours} pixels and the image {theirs}.", remedy)
    grey = picture.colour[..., 0] if picture.colour.shape[-1] == 1 else picture.colour @ _LUMA
    known = _opaque(picture, grey, path) if _has_holes(picture) else _bright(grey, path)
    known.setflags(write=False)
    return known


def _has_holes(picture: Picture) -> bool:
    return picture.alpha is not None and bool((picture.alpha < 0.5).any())


def _bright(grey: NDArray[np.float32], path: Path) -> NDArray[np.bool_]:
    """Return the known pixels of a mask without transparency."""
    low, high = grey.min(), grey.max()
    two_levels = low < high and bool(((grey == low) | (grey == high)).all())
    known: NDArray[np.bool_] = grey == high if two_levels else grey > 0.5
    if known.all() or not known.any():
        values = f"every value is {low * 255:.3g}" if low == high else f"values are {low * 255:.3g} to {high * 255:.3g}"
        effect = "misses no pixel" if known.all() else "leaves no pixel"
        raise UserError(f"The mask {path} {effect}: {values} of 255, and below 128 is missing.", MASK_REMEDY)
    if labels := _labels(grey):
        problem = (
            f"{path} holds labels, not a mask: the values 0 to {labels} and 255, so it is unclear which are missing."
        )
        raise UserError(problem, MASK_REMEDY)
    if not two_levels and _graded(grey) > _MAX_GRADED:
        problem = f"{path} looks like a picture, not a mask: most of its pixels are neither black nor white."
        raise UserError(problem, MASK_REMEDY)
    return known


def _opaque(picture: Picture, grey: NDArray[np.float32], path: Path) -> NDArray[np.bool_]:
    """Return the known pixels of a mask with transparent pixels."""
    assert picture.alpha is not None
    opaque: NDArray[np.bool_] = picture.alpha[..., 0] >= 0.5
    inside = grey[opaque]
    if not inside.size:
        raise UserError(f"The mask {path} leaves no pixel: all of it is transparent.", MASK_REMEDY)
    if (inside <= 0.5).all():
        return ~opaque  # black, drawn on a transparent layer
    if _graded(inside) <= 0.1 and (inside <= 0.5).any():
        problem = f"The mask {path} has black, white and transparent pixels, so it is unclear which are missing."
        raise UserError(problem, f"Save it without transparency. {MASK_REMEDY}")
    return opaque


def _labels(grey: NDArray[np.float32]) -> int:
    """Return the highest label of a segmentation, which has 0, 1, ... and 255 for unknown pixels; 0 for a mask.

    Edges and JPEG compression leave other levels too, and a few pixels of a wrong level are no label.
    """
    levels, counts = np.unique(grey, return_counts=True)
    highest = len(levels) - 2
    expected = np.array([*range(highest + 1), 255], np.float32) / np.float32(255)
    is_labels = 1 <= highest <= _MAX_LABEL and np.allclose(levels, expected, atol=1e-4)
    return highest if is_labels and counts.min() > grey.size / 200 else 0


def _graded(grey: NDArray[np.float32]) -> float:
    """Return the share of pixels that are neither black nor white."""
    return float(((grey > 0.1) & (grey < 0.9)).mean())
