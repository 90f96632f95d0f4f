"""Hashes that identify the pixels of pictures, whatever their files look like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_arrays(arrays: Iterable[NDArray[Any]]) -> tuple[str, list[str]]:
    """Return the SHA-256 hash of all arrays in order, and the hash of each: of its shape as text, and its values."""
    whole, each = hashlib.sha256(), []
    for array in arrays:
        own = hashlib.sha256()
        for digest in (whole, own):
            digest.update(str(tuple(array.shape)).encode())
            digest.update(np.ascontiguousarray(array).data)
        each.append(own.hexdigest())
    return whole.hexdigest(), each
