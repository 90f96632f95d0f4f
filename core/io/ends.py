"""A cheap check whether picture files are whole, by their headers and their ends. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from dipddpm.core.io.atomic import IMAGE_FORMATS, open_regular

_OFFSETS_AND_SIZES = ((273, 279), (324, 325))
"""The tags of a TIFF that say where its strips or tiles are, and how long."""
_TAIL = 64
"""Number of bytes at the end of a file in which its end marker is looked for."""


def seems_whole(path: Path) -> bool:
    """Return whether a file is a picture that ends as such a file ends.

    If not, the file may still be readable, because bytes may follow the picture, and only decoding it shows that.
    """
    try:
        with open_regular(path) as file, Image.open(file, formats=IMAGE_FORMATS) as image:
            return _ends(image, file)
    except Exception:  # on broken files Pillow raises almost anything
        return False


def _ends(image: Image.Image, file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        pairs = [(tags.get(offsets, ()), tags.get(sizes, ())) for offsets, sizes in _OFFSETS_AND_SIZES]
        return all(offset + length <= size for pair in pairs for offset, length in zip(*pair, strict=False))
    if image.format == "PPM":  # a sample of its text variants takes more bytes
        bits = {"1": 1, "I": 16}.get(image.mode, 8 * len(image.getbands()))
        tiles: Any = getattr(image, "tile", None)
        return bool(size >= tiles[0].offset + image.height * -(-image.width * bits // 8))
    if image.format in {"WEBP", "BMP"}:
        file.seek(4 if image.format == "WEBP" else 2)
        return size >= int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - _TAIL))
    end = file.read()
    if image.format == "GIF":
        return end.rstrip(b"\0").endswith(b";")
    return (b"IEND" if image.format == "PNG" else b"\xff\xd9") in end
