"""Images of more than 8 bits, read with Pillow: 16-bit grey and colour, and floats."""

from __future__ import annotations

import re
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from dipddpm.core.io import tiff
from dipddpm.core.io.atomic import IMAGE_FORMATS
from dipddpm.core.io.samples import Samples

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""The other byte order of the last letter of a raw mode, such as `RGB;16B`; N is the machine's."""


def read(image: Image.Image, file: BinaryIO) -> Samples | None:
    """Return the values of an image that has more than 8 bits; None for other images.

    Pillow keeps only the high bytes of 16-bit colour. It gets the low bytes by reading the file again, as if its bytes
    were in the other order.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    profile = image.info.get("icc_profile")
    raw = raw_mode(image)
    if image.mode.startswith("I") or image.mode == "F":
        clear = image.info.get("transparency")
        if raw == "F;32BF" and image.tile[0].codec_name == "libtiff":  # type: ignore[attr-defined]
            values = _reread(file, "F;32NF")  # libtiff returns the machine's byte order, which Pillow forgets here
        else:
            values = np.asarray(ImageOps.exif_transpose(image))
        values = np.atleast_3d(values)
        white = 1.0 if image.mode == "F" else 4095.0 if tags.get(tiff.BITS) == (12,) else 65535.0
        if tags.get(tiff.PHOTOMETRIC) == 0:
            values = (white - values).astype(values.dtype)
        alpha = (values != clear).astype(np.float32) if isinstance(clear, int) else None
        return Samples(values, white, alpha, profile=profile)
    if raw == "LA;16B":
        grey = _reread(file, "RGBA").astype(np.uint16)
        values, opacity = grey[..., :1] * 256 + grey[..., 1:2], grey[..., 2:3] * 256 + grey[..., 3:]
        return Samples(values, 65535.0, opacity / 65535, profile=profile)
    if raw == "RGB" and image.tile[0].codec_name == "ppm":  # type: ignore[attr-defined]
        return _from_ppm(image, file)
    if not re.fullmatch(r"RGB[AaX]?;16[BLN]", raw):
        return None
    kept = raw.replace("a", "A")
    high, low = (_reread(file, each).astype(np.uint16) for each in (kept, kept[:-1] + _SWAPPED[kept[-1]]))
    values = high * 256 + low
    clear = image.info.get("transparency")
    alpha = (values != clear).any(-1, keepdims=True).astype(np.float32) if isinstance(clear, tuple) else None
    if "A" in kept:
        alpha = values[..., 3:] / 65535
    return Samples(values[..., :3], 65535.0, alpha, premultiplied="a" in raw, profile=profile)


def _from_ppm(image: Image.Image, file: BinaryIO) -> Samples | None:
    """Return the values of a PPM in colour with two bytes for each, which Pillow shortens to one; None for others."""
    tiles: Any = getattr(image, "tile", None)
    white = tiles[0].args[1]
    if white <= 255:
        return None
    file.seek(tiles[0].offset)
    content = file.read(image.width * image.height * 6)
    values = np.frombuffer(content, ">u2").reshape(image.height, image.width, 3)
    return Samples(np.minimum(values.astype(np.uint16), white), float(white))


def raw_mode(image: Image.Image) -> str:
    """Return the layout of the pixels in the file, such as `RGB;16B`; an empty string if the decoder doesn't say."""
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _reread(file: BinaryIO, raw_mode: str) -> NDArray[Any]:
    """Read the open file again with another raw mode."""
    file.seek(0)
    image: Any = Image.open(file, formats=IMAGE_FORMATS)
    image.tile = [
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in image.tile
    ]
    return np.asarray(ImageOps.exif_transpose(image))
