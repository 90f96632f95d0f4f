"""Read a file's EXIF data, resolution and texts, to write them into a restored file of the same kind."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

from dipddpm.core.io import exif as exif_data
from dipddpm.core.io import tiff_tags
from dipddpm.core.io.atomic import IMAGE_FORMATS

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD = b"XML:com.adobe.xmp"
_KEPT_CHUNKS = {b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
"""The PNG chunks that are copied; `eXIf` and texts that hold EXIF data or XMP may say how the picture is turned."""
_EXIF_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type xmp")
_MAX_CHUNKS = 64 * 2**20
"""Most bytes of chunks that are kept."""
_INCH = 0.0254
_STANDARD_SUM = 3688
"""The sum of the table of luminance in Annex K of the JPEG standard, which is that of quality 50."""


@dataclass(frozen=True)
class Metadata:
    """EXIF data, resolution and texts of a file, as they are written with upright pixels."""

    format: str = ""
    """The name of the file's format, as Pillow calls it."""
    frames: int = 1
    """The number of frames of an animation."""
    quality: int = 100
    """The quality of a JPEG by the usual scale, estimated from its table."""
    exif: bytes = b""
    """EXIF data, as a chunk of a PNG holds them."""
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    """Further chunks for a PNG: their kinds and contents."""
    tags: tuple[tiff_tags.Tag, ...] = ()
    """Tags for a TIFF."""
    exif_directories: Mapping[int, tiff_tags.Directory] = field(default_factory=dict)
    """EXIF data for a TIFF, by the tags that point to them."""


def read(file: BinaryIO) -> Metadata:
    """Return the metadata of an open picture file; what is damaged among them is left out."""
    file.seek(0)
    start = file.read(8)
    if start[:4] in TiffImagePlugin.PREFIXES:
        return Metadata("TIFF", tags=tiff_tags.read(file), exif_directories=tiff_tags.read_exif(file))
    file.seek(0)
    with contextlib.suppress(Exception):  # on broken files the decoders raise almost anything, and pixels are known
        image = Image.open(file, formats=IMAGE_FORMATS)
        animated = image.format in {"GIF", "WEBP", "PNG"}
        found = Metadata(image.format or "", getattr(image, "n_frames", 1) if animated else 1, _quality(image))
        if start == PNG_SIGNATURE:
            return _of_png(file, found)
        chunks = list(_described(image.info))
        return replace(found, exif=exif_data.upright(image.info.get("exif", b"")), chunks=tuple(chunks))
    return Metadata()


def _quality(image: Image.Image) -> int:
    """Return the quality from 1 to 100 of which the JPEG standard's table of luminance would have the same sum."""
    table = getattr(image, "quantization", {}).get(0, ())
    scale = sum(table) / _STANDARD_SUM
    return max(1, round(100 - 50 * scale if scale <= 1 else 50 / scale)) if table else 100


def _of_png(file: BinaryIO, found: Metadata) -> Metadata:
    exif, chunks = b"", []
    for kind, content in _png_chunks(file):
        keyword = content.partition(b"\0")[0] if kind in {b"tEXt", b"zTXt", b"iTXt"} else b""
        if kind == b"eXIf":
            exif = content
        elif keyword not in {XMP_KEYWORD, *_EXIF_TEXTS}:
            chunks.append((kind, content))
    file.seek(0)
    image = Image.open(file, formats=IMAGE_FORMATS)
    if not exif and (text := image.info.get("Raw profile type exif")):
        exif = bytes.fromhex("".join(text.split("\n")[3:]))
    chunks += _xmp(image.info)
    return replace(found, exif=exif_data.upright(exif), chunks=tuple(chunks))


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of a PNG that are kept."""
    file.seek(len(PNG_SIGNATURE))
    room = _MAX_CHUNKS
    while len(header := file.read(8)) == 8 and header[4:] != b"IEND":
        length = int.from_bytes(header[:4], "big")
        if header[4:] in {*_KEPT_CHUNKS, b"eXIf"} and length <= room:
            room -= length
            yield header[4:], file.read(length)
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)


def _described(info: dict[Any, Any]) -> Iterator[tuple[bytes, bytes]]:
    """Yield chunks for the resolution, a comment and XMP of a file that isn't a PNG."""
    with contextlib.suppress(TypeError, ValueError, OverflowError, struct.error):
        x, y = (round(float(each) / _INCH) for each in info.get("dpi", ()))
        if x > 0 and y > 0:
            yield b"pHYs", struct.pack(">IIB", x, y, 1)
    comment = info.get("comment", b"")
    if comment := (comment.encode("latin-1", "replace") if isinstance(comment, str) else comment).strip(b"\0"):
        yield b"tEXt", b"Comment\0" + comment.replace(b"\0", b" ")
    yield from _xmp(info)


def _xmp(info: dict[Any, Any]) -> Iterator[tuple[bytes, bytes]]:
    xmp = info.get("xmp", b"")
    if xmp := xmp.encode() if isinstance(xmp, str) else xmp:
        yield b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + exif_data.upright_xmp(xmp)
