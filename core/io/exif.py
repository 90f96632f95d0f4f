"""EXIF and XMP data of pictures that have been turned upright. Loads no torch."""

from __future__ import annotations

import re
import struct

_ORIENTATION, _EXIF, _WIDTH, _HEIGHT = 274, 34665, 40962, 40963
"""The tags of EXIF data that change with the orientation, and the one with the position of the two sizes."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]")


def upright(exif: bytes) -> bytes:
    """Return EXIF data of a picture that has been turned upright, without its thumbnail; nothing for damaged data.

    Everything else stays where it is, because notes of the camera's maker hold positions.
    """
    block = bytearray(exif.removeprefix(b"Exif\0\0"))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]), "")
    if not order:
        return b""
    try:
        (first,) = struct.unpack_from(f"{order}I", block, 4)
        entries, end = _entries(block, first, order)
        struct.pack_into(f"{order}I", block, end, 0)  # the position of the next directory, which is a thumbnail's
        if (position := entries.get(_ORIENTATION)) is None:
            return bytes(block)
        form = f"{order}H" if struct.unpack_from(f"{order}H", block, position + 2) == (3,) else f"{order}I"
        (orientation,) = struct.unpack_from(form, block, position + 8)
        struct.pack_into(form, block, position + 8, 1)
        if orientation in {5, 6, 7, 8} and _EXIF in entries:
            (below,) = struct.unpack_from(f"{order}I", block, entries[_EXIF] + 8)
            sizes, _ = _entries(block, below, order)
            if _WIDTH in sizes and _HEIGHT in sizes:
                width, height = (slice(sizes[tag] + 2, sizes[tag] + 12) for tag in (_WIDTH, _HEIGHT))
                block[width], block[height] = block[height], block[width]
    except struct.error:
        return b""
    return bytes(block)


def _entries(block: bytearray, start: int, order: str) -> tuple[dict[int, int], int]:
    """Return where the entries of a directory are, by their tags, and where the directory ends."""
    (count,) = struct.unpack_from(f"{order}H", block, start)
    positions = [start + 2 + 12 * index for index in range(count)]
    return {
        struct.unpack_from(f"{order}H", block, position)[0]: position for position in positions
    }, start + 2 + 12 * count


def upright_xmp(xmp: bytes) -> bytes:
    """Return XMP data of a picture that has been turned upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
