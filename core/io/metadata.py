"""What a picture file says besides its pixels: EXIF data, resolution, texts. It is kept for a file of the same kind."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from PIL import Image, TiffImagePlugin

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
_ORIENTATION, _EXIF, _WIDTH, _HEIGHT = 274, 34665, 40962, 40963
"""The tags of EXIF data that change with the orientation, and the one with the position of the two sizes."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]")


@dataclass(frozen=True)
class Metadata:
    """What to write beside the pixels; all of it is for upright pixels."""

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


def read(file: BinaryIO) -> Metadata:
    """Return the metadata of an open picture file; what is damaged among them is left out."""
    file.seek(0)
    start = file.read(8)
    if start[:4] in TiffImagePlugin.PREFIXES:
        return Metadata("TIFF", tags=tiff_tags.read(file))
    file.seek(0)
    with contextlib.suppress(Exception):  # on broken files the decoders raise almost anything, and pixels are known
        image = Image.open(file, formats=IMAGE_FORMATS)
        animated = image.format in {"GIF", "WEBP", "PNG"}
        found = Metadata(image.format or "", getattr(image, "n_frames", 1) if animated else 1, _quality(image))
        if start == PNG_SIGNATURE:
            return _of_png(file, found)
        chunks = list(_described(image.info))
        return replace(found, exif=upright(image.info.get("exif", b"")), chunks=tuple(chunks))
    return Metadata()


def _quality(image: Image.Image) -> int:
    """Return the quality from 1 to 100 of which the JPEG standard's table of luminance would have the same sum."""
    table = getattr(image, "quantization", {}).get(0, ())
    scale = sum(table) / _STANDARD_SUM
    return max(1, round(100 - 50 * scale if scale <= 1 else 50 / scale)) if table else 100


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
        if (place := entries.get(_ORIENTATION)) is None:
            return bytes(block)
        form = f"{order}H" if struct.unpack_from(f"{order}H", block, place + 2) == (3,) else f"{order}I"
        (orientation,) = struct.unpack_from(form, block, place + 8)
        struct.pack_into(form, block, place + 8, 1)
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
    places = [start + 2 + 12 * index for index in range(count)]
    return {struct.unpack_from(f"{order}H", block, place)[0]: place for place in places}, start + 2 + 12 * count


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
    return replace(found, exif=upright(exif), chunks=tuple(chunks))


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
        yield b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + upright_xmp(xmp)


def upright_xmp(xmp: bytes) -> bytes:
    """Return XMP data of a picture that has been turned upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
