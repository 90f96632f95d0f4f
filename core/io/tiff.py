"""TIFF files that Pillow can't read, or reads wrong: floats of all sizes, 32 bits, inverted and planar 16 bits."""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from PIL import Image, TiffImagePlugin

from dipddpm.core.io.samples import Samples, UnreadableError, upright

if TYPE_CHECKING:
    import tifffile

BITS, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT = 258, 262, 284, 339
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE, _ORIENTATION, _EXTRA_SAMPLES = 254, 255, 274, 338
_SUB_IFDS, _PROFILE, _DNG_VERSION = 330, 34675, 50706
_SENSOR = {32803, 34892}
"""The photometrics of raw files of cameras."""
MAX_PAGES = 4096
"""Most pages of a stack."""
_MAX_PAGES = 64
"""Number of pages among which the picture is looked for in a file that begins with a preview."""
_PHOTOMETRICS = {3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "sensor data"}
_FORMATS = {4: "undefined values", 5: "complex integers", 6: "complex numbers"}


# Without a handler, tifffile's remarks on unusual files would be printed on stderr.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class UnlistedPagesError(Exception):
    """A TIFF holds several pictures, and lists only the first, which is all that most programs read."""


class RawError(Exception):
    """A TIFF is a camera's raw file."""


def is_preview(file: BinaryIO) -> bool:
    """Return whether the first image is a small preview or a mask of another one, or the file is a camera's raw."""
    tags = _first_tags(file)
    kind = tags.get(_SUBFILE_TYPE, 0) | (tags.get(_OLD_SUBFILE_TYPE) == 2)
    return _DNG_VERSION in tags or bool(kind & 5)


def _first_tags(file: BinaryIO) -> dict[int, int]:
    """Return the tags of the first image, each with its first value; tags of other types than integers have 0.

    Pillow doesn't read the tags of all files that tifffile reads.
    """
    file.seek(0)
    header = file.read(16)
    order: Literal["big", "little"] = "big" if header[:2] == b"MM" else "little"
    wide, bytes_of = b"+" in header[2:4], {3: 2, 4: 4}
    file.seek(int.from_bytes(header[8:16] if wide else header[4:8], order))
    tags = {}
    for _ in range(int.from_bytes(file.read(8 if wide else 2), order)):
        entry = file.read(20 if wide else 12)
        if len(entry) < 12:
            break
        tag, kind = (int.from_bytes(entry[start : start + 2], order) for start in (0, 2))
        start = 12 if wide else 8
        tags[tag] = int.from_bytes(entry[start : start + bytes_of.get(kind, 0)], order)
    return tags


def full_size(file: BinaryIO) -> BinaryIO | None:
    """Return the file with the largest picture in place of a first image that is only its preview.

    The pages and what they have below them are looked through. Returns None if the preview is all that there is.
    Raises `RawError`, and `UnreadableError` for a file of previews alone.
    """
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file, name="picture") as opened:
        first = opened.pages.first
        pages = [page for page in itertools.islice(opened.pages, _MAX_PAGES) if isinstance(page, tifffile.TiffPage)]
        pages += [below for page in pages for below in page.pages or () if isinstance(below, tifffile.TiffPage)]
        if any(_DNG_VERSION in page.tags or page.photometric in _SENSOR for page in pages):
            raise RawError
        whole = [page for page in pages if not _is_small(page)]
        if not whole:
            if len(pages) > 1 or _SUB_IFDS in first.tags:
                raise UnreadableError("all its images are marked as small previews")
            return None
        chosen = max(whole, key=lambda page: page.imagewidth * page.imagelength)
    return next(at_offsets(file, [chosen.offset]))


def page_offsets(file: BinaryIO) -> list[int]:
    """Return the positions of the pages of a TIFF file, previews and masks left out; none if they can't be read.

    Raises `UnlistedPagesError` for a stack without a list of its pages.
    """
    import tifffile

    file.seek(0)
    try:
        with tifffile.TiffFile(file, name="picture") as opened:
            alone = len(opened.pages) == 1 and (opened.is_shaped or opened.is_imagej)
            if alone and opened.series[0].size > opened.pages.first.size:
                raise UnlistedPagesError
            pages = itertools.islice(opened.pages, MAX_PAGES + 1)
            return [page.offset for page in pages if not (isinstance(page, tifffile.TiffPage) and _is_small(page))]
    except UnlistedPagesError:
        raise
    except Exception:  # on broken files tifffile raises almost anything, and so will the reader of the first page
        return []


def _is_small(page: tifffile.TiffPage) -> bool:
    """Return whether a page is marked as a preview or a mask of another one."""
    return page.is_reduced or page.is_mask


def at_offsets(file: BinaryIO, offsets: Iterable[int]) -> Iterator[BinaryIO]:
    """Yield a copy of a TIFF file in memory, each time with the image at another of these positions as its first."""
    file.seek(0)
    content = io.BytesIO(file.read())
    start = content.getvalue()[:4]
    header, size = (8, 8) if b"+" in start else (4, 4)
    for offset in offsets:
        content.getbuffer()[header : header + size] = offset.to_bytes(size, "big" if start[:2] == b"MM" else "little")
        content.seek(0)
        yield content


def pillow_misreads(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether Pillow opens this file, but reads it wrong, or with fewer bits than it has."""
    tags = image.tag_v2
    signed = any(kind != 1 for kind in tags.get(SAMPLE_FORMAT, (1,))) and image.mode != "F"
    planar = tags.get(PLANAR) == 2 and (max(tags.get(BITS, (1,))) > 8 or tags.get(_EXTRA_SAMPLES) == (1,))
    return signed or image.mode == "I" or planar


def is_premultiplied(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return whether the colours are multiplied by the opacity."""
    return image.tag_v2.get(_EXTRA_SAMPLES) == (1,)


def read(file: BinaryIO, max_pixels: int) -> Samples:
    """Read the first image of a TIFF file.

    Raises `UnreadableError`, `DecompressionBombError` above `max_pixels`, and other exceptions for a damaged file.
    """
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file, name="picture") as opened:
        page = opened.pages.first
        assert isinstance(page, tifffile.TiffPage)
        if page.imagewidth * page.imagelength > max_pixels:
            raise Image.DecompressionBombError
        kind = _FORMATS.get(int(page.sampleformat))
        if kind:
            raise UnreadableError(kind)
        photometric = int(page.photometric)
        if photometric > 2:
            raise UnreadableError(_PHOTOMETRICS.get(photometric, f"photometric {photometric}"))
        channels = 3 if photometric == 2 else 1
        if not channels <= page.samplesperpixel <= (2 if channels == 1 else 5) or page.imagedepth > 1:
            raise UnreadableError(f"{page.samplesperpixel * page.imagedepth} layers")
        if sum(page.databytecounts) > file.seek(0, 2) or max(page.dataoffsets, default=0) >= file.tell():
            raise EOFError("cut short")
        try:
            values = page.asarray()
        except (ValueError, KeyError, ImportError, NotImplementedError) as error:
            if "imagecodecs" not in str(error):
                raise
            compression = tifffile.COMPRESSION(page.compression).name.replace("_", " ").lower()
            raise UnreadableError(f"{page.bitspersample} bits, compression {compression}") from None
        values = values.reshape(
            (page.samplesperpixel, page.imagelength, page.imagewidth)
            if page.planarconfig == 2
            else (page.imagelength, page.imagewidth, page.samplesperpixel)
        )
        values = np.moveaxis(values, 0, -1) if page.planarconfig == 2 else values
        signed = values.dtype.kind == "i"
        white = 1.0 if values.dtype.kind == "f" else 0.0 if signed else 2.0 ** int(page.bitspersample) - 1
        colour = values[..., :channels]
        if photometric == 0 and signed:
            raise UnreadableError("signed integers, in which white is zero")
        if photometric == 0:
            colour = (white - colour).astype(values.dtype if values.dtype.kind == "u" else np.float64)
        samples = Samples(colour, white)
        if page.extrasamples and page.extrasamples[0] in {1, 2}:
            alpha = np.clip(
                values[..., channels : channels + 1] / np.float64(white or np.iinfo(values.dtype).max), 0, 1
            )
            samples = replace(samples, alpha=alpha, premultiplied=page.extrasamples[0] == 1)
        profile, orientation = page.tags.get(_PROFILE), page.tags.get(_ORIENTATION)
        samples = replace(samples, profile=profile and bytes(profile.value))
        return upright(samples, int(orientation.value) if orientation else 1)
