"""Write PNG files of 8 and 16 bits with any chunks. Pillow writes 16 bits in grey only, and no chunks as they are."""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dipddpm.core.io.metadata import PNG_SIGNATURE

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""The colour type of the specification by the number of channels: grey, grey and alpha, RGB, RGB and alpha."""
_BAND = 1 << 22
"""Number of bytes that are filtered together."""


def write(file: BinaryIO, values: NDArray[Any], chunks: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Write an image (H, W, C) of 8 or 16 bits, C = 1 to 4, with these chunks before its pixels."""
    height, width, channels = values.shape
    bits = 8 * values.dtype.itemsize
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = sizes + bytes([bits, _COLOUR_TYPES[channels], 0, 0, 0])
    file.write(PNG_SIGNATURE)
    for kind, content in ((b"IHDR", header), *chunks):
        _write_chunk(file, kind, content)
    step = channels * bits // 8
    rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    compressor = zlib.compressobj(6)
    band = max(1, _BAND // rows.shape[1])
    for top in range(0, height, band):
        above = rows[top - 1 : top] if top else np.zeros_like(rows[:1])
        filtered = _filtered(rows[top : top + band], above, step)
        _write_chunk(file, b"IDAT", compressor.compress(filtered.tobytes()))
    _write_chunk(file, b"IDAT", compressor.flush())
    _write_chunk(file, b"IEND", b"")


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    """Return the chunk that holds a colour profile."""
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    if content or kind != b"IDAT":
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        file.write(len(content).to_bytes(4, "big") + kind + content + checksum)


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Return rows of bytes, each after the number of its filter: of none, Sub, Up and Paeth the one that suits it.

    As the specification advises, that is the one with the smallest sum of absolute differences. `above` is the row
    above the first one, and `step` the number of bytes of a pixel.
    """
    up = np.concatenate([above, rows[:-1]])
    left, corner = (np.pad(each, ((0, 0), (step, 0)))[:, :-step].astype(np.int16) for each in (rows, up))
    a, b, c = (np.abs(each) for each in (up - corner, left - corner, left + up - 2 * corner))
    paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
    wide = rows.astype(np.int16)
    candidates = np.stack([wide, wide - left, wide - up, wide - paeth]).astype(np.uint8)
    cost = np.abs(candidates.view(np.int8).astype(np.int16)).sum(-1, dtype=np.int64)
    best = cost.argmin(0)
    chosen = np.take_along_axis(candidates, best[None, :, None], 0)[0]
    return np.concatenate([np.array([0, 1, 2, 4], np.uint8)[best][:, None], chosen], 1)
