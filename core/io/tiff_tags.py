"""The tags of a TIFF that describe its picture: who made it, when, at which resolution. Loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

DESCRIPTION, SOFTWARE, PROFILE = 270, 305, 34675
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
_KEPT = {
    269, DESCRIPTION, 271, 272, X_RESOLUTION, Y_RESOLUTION, 285, RESOLUTION_UNIT, SOFTWARE, 306, 315, 316, 700, 33432,
    33550, 33723, 33922, 34264, 34377, 34735, 34736, 34737, 42112, 42113, 50838, 50839,
}  # fmt: skip
"""Names, makers, resolution, dates, XMP, copyright, IPTC, Photoshop, places on Earth (GeoTIFF), and ImageJ's notes."""


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
        return tuple(Tag(tag.code, int(tag.dtype), tag.count, tag.value) for tag in first if tag.code in _KEPT)
    return ()


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
