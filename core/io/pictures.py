"""Read picture files as people have them: any depth, colour profile, transparency and orientation. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dipddpm.core.io import colour, deep, stored
from dipddpm.core.io.atomic import IMAGE_FORMATS, open_regular
from dipddpm.core.io.samples import Samples, scaled

_MAX_INSPECTED = 4096


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture in sRGB."""

    colour: NDArray[np.float32]
    """Values in [0, 1], (H, W, C); C is 1 for grey and 3 for RGB."""
    alpha: NDArray[np.float32] | None = None
    """The opacity in [0, 1], (H, W, 1); None if everything is opaque."""
    warnings: tuple[str, ...] = ()
    """Sentences about what may be wrong with the file."""

    def over_white(self) -> NDArray[np.float32]:
        """Return the colours with transparent pixels blended over white."""
        if self.alpha is None:
            return self.colour
        blended: NDArray[np.float32] = self.colour * self.alpha + (1 - self.alpha)
        return blended


@dataclass(frozen=True)
class Inspected:
    """The facts about a picture that are checked before a run."""

    shape: tuple[int, int, int]
    """Channels, height and width."""
    grey: bool
    """True if all channels are equal."""
    warnings: tuple[str, ...]
    """Sentences about what may be wrong with the file."""


def decode(path: Path, white: float = 0, *, option: str = "images.white") -> Picture:
    """Read the first image of a file.

    `white` is the value of white in a file of floats or of more than 8 bits; with 0 it is 1 for floats, and otherwise
    the largest value that the type holds. With infinity it is the largest value in the file. `option` is the option
    that sets it, for messages; empty for a mask, which has none.

    Raises `UserError`, naming the file, if it is missing, isn't an image, is damaged, or is larger than `MAX_PIXELS`.
    """
    with stored.reading(path, option) as file:
        before = version(path)
        picture = _managed(stored.read(file, path), path, white, option)
    _remember(path, white, before, picture)
    return picture


def inspect(path: Path, white: float = 0) -> Inspected:
    """Return what is to be known of a picture, from memory if this process has read the file and it is unchanged.

    Raises `UserError` as `decode` does.
    """
    if (known := _inspected.get((path, white, version(path)))) is None:
        known = _facts(decode(path, white))
    return known


def is_grey(path: Path) -> bool:
    """Return whether `decode` reads a file as grey, by its header if that is enough. Raises `UserError` as it does."""
    try:
        with open_regular(path) as file, Image.open(stored.full_size(file), formats=IMAGE_FORMATS) as image:
            return stored.stored_grey(image) or deep.raw_mode(image) == "LA;16B"
    except Exception:  # on broken files Pillow raises almost anything
        return int(decode(path).colour.shape[-1]) == 1


def version(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file is written or replaced; none if there is no file.

    A copy can have the size and the modification time of another file, but not its inode and its time of change too.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


_inspected: dict[tuple[Path, float, tuple[int, ...]], Inspected] = {}
"""The facts about the files read last, so that a run reads each file once."""


def _remember(path: Path, white: float, before: tuple[int, ...], picture: Picture) -> None:
    """Keep the facts about a file whose version was `before` when its reading began."""
    if version(path) == before:
        if len(_inspected) >= _MAX_INSPECTED:
            _inspected.clear()
        _inspected[path, white, before] = _facts(picture)


def _facts(picture: Picture) -> Inspected:
    """Return what a check needs to know of a picture."""
    height, width, channels = picture.colour.shape
    return Inspected((channels, height, width), is_grey_inside(picture.colour), picture.warnings)


def is_grey_inside(colour: NDArray[np.float32]) -> bool:
    """Return whether all channels (H, W, C) are equal, as in grey pictures that are stored as RGB."""
    return bool((colour == colour[..., :1]).all())


def _managed(samples: Samples, path: Path, white: float, option: str) -> Picture:
    """Scale stored values to [0, 1] and convert them to sRGB by the file's profile."""
    values, doubts = scaled(samples, path, white, option)
    if samples.declared:
        doubts += (f"{path} has {samples.declared}, and is read as sRGB. Convert it to sRGB first.",)
    if samples.profile:
        try:
            values = colour.to_srgb(values, samples.profile)
        except colour.ProfileError:
            doubts += (stored.unusable_profile(path),)
    alpha = None if samples.alpha is None else samples.alpha.astype(np.float32)
    return Picture(np.ascontiguousarray(values), alpha, doubts)
