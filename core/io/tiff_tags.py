"""The tags of a TIFF that describe its picture: who made it, when, at which resolution. Loads no torch."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from PIL import Image, TiffImagePlugin

from dipddpm.core.io.exif import upright_xmp

DESCRIPTION, SOFTWARE, PROFILE = 270, 305, 34675
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
_KEPT = {
    269, DESCRIPTION, 271, 272, X_RESOLUTION, Y_RESOLUTION, 285, RESOLUTION_UNIT, SOFTWARE, 306, 315, 316, 700, 33432,
    33550, 33723, 33922, 34264, 34377, 34735, 34736, 34737, 42112, 42113, 50838, 50839,
}  # fmt: skip
"""Names, makers, resolution, dates, XMP, copyright, IPTC, Photoshop, places on Earth (GeoTIFF), and ImageJ's notes."""


_XMP = 700
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
        return tuple(tag._replace(value=upright_xmp(tag.value)) if tag.code == _XMP else tag for tag in kept)
    return ()


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
    by_code = {tag.code: tag for tag in tags}
    chosen: dict[str, Any] = {"metadata": None, "software": False}
    if X_RESOLUTION in by_code and Y_RESOLUTION in by_code:
        unit = by_code.get(RESOLUTION_UNIT)
        chosen["resolution"] = by_code[X_RESOLUTION].value, by_code[Y_RESOLUTION].value
        chosen["resolutionunit"] = int(unit.value) if unit else 2
    own = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
    chosen["extratags"] = [(*_encoded(tag), True) for tag in tags if tag.code not in own]
    return chosen


def _encoded(tag: Tag) -> Tag:
    """Return a tag whose text is bytes, because tifffile writes text in ASCII only."""
    if not isinstance(tag.value, str):
        return tag
    text = tag.value.encode() + b"\0"
    return tag._replace(number=len(text), value=text)
