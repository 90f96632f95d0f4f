"""Read the kernels of blurs from image files and NumPy arrays. Loads no torch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.io.atomic import open_regular
from dipddpm.core.io.pictures import decode

MAX_SIDE = 1023
"""Largest side of a kernel, in pixels."""
_REMEDY = "Give a grey image with odd sides, or a .npy file of numbers with two axes, none of them negative."


def read_kernel(file: str) -> NDArray[np.float64]:
    """Return the kernel (H, W) in a grey image or a .npy file, divided by its sum; its centre is the middle pixel.

    Raises `UserError` for a file that can't be read, for colours, and for a kernel with an even side, a side above
    `MAX_SIDE`, a negative or a non-finite value, or without a positive one.
    """
    if not file:
        raise UserError("The blur has no kernel file.", "Name it: deblur:kernel=file,file=PATH.")
    path = home.expand(file)
    values = _array(path) if path.suffix.lower() == ".npy" else _grey(path)
    if values.ndim != 2:
        raise UserError(f"The kernel {path} has {values.ndim} axes, not 2.", _REMEDY)
    height, width = values.shape
    if height % 2 == 0 or width % 2 == 0:
        problem = f"The kernel {path} has {width}x{height} pixels, so no pixel is in its middle."
        raise UserError(problem, "Add a row or a column of zeros, so that both sides are odd.")
    if max(values.shape) > MAX_SIDE:
        problem = f"The kernel {path} has {width}x{height} pixels, and {MAX_SIDE} a side is the limit."
        raise UserError(problem, "Crop it around its middle.")
    if not np.isfinite(values).all() or values.min() < 0:
        raise UserError(f"The kernel {path} has values that are negative or not finite.", "Set them to 0.")
    if not values.max() > 0:
        raise UserError(f"Every value of the kernel {path} is 0.", _REMEDY)
    values = values / values.max()  # the sum of large values may overflow
    kernel: NDArray[np.float64] = values / values.sum()
    return kernel


def _grey(path: Path) -> NDArray[np.float64]:
    colour = decode(path, math.inf, option="").over_white()
    if np.ptp(colour, axis=-1).max() > 1e-3:
        raise UserError(f"The kernel {path} is in colour.", _REMEDY)
    return colour[..., 0].astype(np.float64)


def _array(path: Path) -> NDArray[np.float64]:
    try:
        with open_regular(path) as file:
            values = np.lib.format.read_array(file, allow_pickle=False, max_header_size=1024)
    except FileNotFoundError:
        raise UserError(f"There is no kernel file {path}.", "Check the path.") from None
    except (OSError, ValueError, EOFError, MemoryError):
        raise UserError(f"{path} is not a readable .npy file of numbers.", _REMEDY) from None
    if values.dtype.kind not in "biuf":
        raise UserError(f"{path} holds values of type {values.dtype}, not real numbers.", _REMEDY)
    return values.astype(np.float64)
