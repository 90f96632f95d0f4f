"""The tags of a TIFF that describe its picture: who made it, when, at which resolution. Loads no torch."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, TiffImagePlugin

from dipddpm.core.io.exif import upright_xmp

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = _RESOLUTION = 282, 283, 296
_XMP, _IMAGEJ = 700, 50839
_KEPT = {
    269, 270, 271, 272, *_RESOLUTION, 285, 305, 306, 315, 316, _XMP, 33432, 33550, 33723, 33922, 34264, 34377, 34735,
    34736, 34737, 42112, 42113, _IMAGEJ,
}  # fmt: skip
"""Names, makers, resolution, dates, XMP, copyright, IPTC, Photoshop, places on Earth (GeoTIFF), and ImageJ's notes."""
_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
"""Tags that hold the position of a further directory."""

Directory: TypeAlias = TiffImagePlugin.ImageFileDirectory_v2


class Tag(NamedTuple):
    """A tag as tifffile writes it."""

    code: int
    dtype: int
    number: int
    """How many values it has."""
    value: Any


def read(file: BinaryIO) -> tuple[Tag, ...]:
    """Return the tags of the first image of an open TIFF file that are kept; none of a file that can't be read."""
    import tifffile

    file.seek(0)
    with contextlib.suppress(Exception), tifffile.TiffFile(file, name="picture") as opened:
        first = opened.pages.first.tags
        kept = [Tag(tag.code, int(tag.dtype), tag.count, tag.value) for tag in first if tag.code in _KEPT]
        kept = [tag._replace(value=upright_xmp(tag.value)) if tag.code == _XMP else tag for tag in kept]
        resolution = [tag for tag in kept if tag.code in _RESOLUTION]
        groups = [resolution, *([tag] for tag in kept if tag.code not in _RESOLUTION)]
        return tuple(tag for group in groups if _can_be_written(group) for tag in group)
    return ()


def _can_be_written(tags: Sequence[Tag], exif: Mapping[int, Directory] | None = None) -> bool:
    """Return whether tags can be written as they were read, so that no result is lost by a damaged one."""
    import tifffile

    try:
        file = io.BytesIO()
        tifffile.imwrite(file, np.zeros((1, 1), np.uint8), byteorder="<", **options(tags))
        append_exif(file, exif or {})
    except Exception:  # the writers raise almost anything for values of another type or size than the tag says
        return False
    return True


def read_exif(file: BinaryIO) -> dict[int, Directory]:
    """Return the directories of EXIF data in an open TIFF file, by the tags of its first image that point to them."""
    found: dict[int, Directory] = {}
    with contextlib.suppress(Exception):  # on broken files Pillow raises almost anything
        file.seek(0)
        head = file.read(8)
        file.seek(0)
        image = Image.open(file, formats=["TIFF"])
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        for tag in (_EXIF, _GPS):
            if start := image.tag_v2.get(tag):
                directory = Directory(head)
                file.seek(start)
                directory.load(file)
                if _can_be_written((), {tag: directory}):
                    found[tag] = directory
    return found


def append_exif(file: BinaryIO, directories: Mapping[int, Directory]) -> None:
    """Add directories of EXIF data to a TIFF of little byte order, because tifffile doesn't write them.

    The first image gets a new list of tags at the end of the file, with the positions of the directories in it.
    """
    file.seek(4)
    (start,) = struct.unpack("<I", file.read(4))
    file.seek(start)
    (count,) = struct.unpack("<H", file.read(2))
    entries = [file.read(12) for _ in range(count)]
    following = file.read(4)
    for tag, directory in directories.items():
        copy = Directory(b"II*\0\0\0\0\0")
        for each in set(directory) - {_INTEROPERABILITY}:
            copy.tagtype[each] = directory.tagtype[each]
            copy[each] = directory[each]
        start = _end(file)
        file.write(copy.tobytes(start))
        entries.append(struct.pack("<HHII", tag, 4, 1, start))
    start = _end(file)
    entries.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + following)
    file.seek(4)
    file.write(struct.pack("<I", start))


def _end(file: BinaryIO) -> int:
    """Move to the end of a file, at an even position, and return it."""
    end = file.seek(0, 2)
    return end + file.write(bytes(end % 2))


def options(tags: Sequence[Tag]) -> dict[str, Any]:
    """Return the options of tifffile's writer that write these tags."""
    import tifffile

    by_code = {tag.code: tag for tag in tags}
    chosen: dict[str, Any] = {"metadata": None, "software": False}
    if _X_RESOLUTION in by_code and _Y_RESOLUTION in by_code:
        unit = by_code.get(_RESOLUTION_UNIT)
        chosen["resolution"] = by_code[_X_RESOLUTION].value, by_code[_Y_RESOLUTION].value
        chosen["resolutionunit"] = int(unit.value) if unit else 2
    others = [tag for tag in tags if tag.code not in {*_RESOLUTION, _IMAGEJ}]
    chosen["extratags"] = [(*_encoded(tag), True) for tag in others]
    if notes := by_code.get(_IMAGEJ):
        chosen["extratags"] += tifffile.imagej_metadata_tag(notes.value, "<")
    return chosen


def _encoded(tag: Tag) -> Tag:
    """Return a tag whose text is bytes, because tifffile writes text in ASCII only."""
    if not isinstance(tag.value, str):
        return tag
    text = tag.value.encode() + b"\0"
    return tag._replace(number=len(text), value=text)
