"""Read pictures from NumPy's `.npy` files. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dipddpm.core.errors import UserError
from dipddpm.core.io.samples import Samples, refuse_not_finite, scaled

SIGNATURE = b"\x93NUMPY"
COLOURS = (3, 4)
"""The sizes of a last dimension that holds the colours of a pixel: RGB, or RGB and the opacity."""
_TYPES = {np.dtype(each) for each in (np.uint8, np.uint16, np.float16, np.float32, np.float64)}
_BRIGHT = 2.0
"""Floats above this make the reader ask which value is white."""


def read(file: BinaryIO, path: Path, max_pixels: int, white: float) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the array of an open file as stored, and sentences about what may be wrong with it.

    Its shape is (H, W), (H, W, 3), (H, W, 4), or one of these after the number of images. Raises `UserError` for other
    shapes and types, for values that aren't finite, and for a damaged file.
    """
    file.seek(0)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    _refuse_other(shape, dtype, path)
    if np.prod(shape[:-1] if shape[-1] in COLOURS and len(shape) > 2 else shape, dtype=object) > max_pixels:
        raise Image.DecompressionBombError
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    refuse_not_finite(array, path)
    if array.dtype.kind == "f":
        largest = float(array.max())
        if white or largest <= _BRIGHT:
            return array, ()
        doubt = f"{path} has values up to {largest:,.7g}. If white isn't 1, say so, such as --set images.white=255."
        return array, (doubt,)
    _, doubts = scaled(Samples(array, float(np.iinfo(dtype).max)), path, white, "images.white")
    return array, doubts


def is_stack(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape holds several images."""
    return len(shape) == 4 or (len(shape) == 3 and shape[-1] not in COLOURS)


def _refuse_other(shape: tuple[int, ...], dtype: np.dtype[Any], path: Path) -> None:
    is_picture = len(shape) in {2, 3} or (len(shape) == 4 and shape[-1] in COLOURS)
    if not is_picture or 0 in shape:
        problem = f"{path} holds an array of the shape {shape}, which is no picture and no stack of them."
        raise UserError(problem, "Save an array (H, W) or (H, W, 3), or several such in a row: (N, H, W).")
    if dtype.newbyteorder("=") not in _TYPES:
        problem = f"{path} holds values of the type {dtype}, which are not read as a picture."
        raise UserError(problem, "Save uint8, uint16 or floats from 0 to 1, such as array.astype(np.float32).")
