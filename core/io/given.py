"""Read damaged pictures so that the restored ones can be written as files of the same kind. Loads no torch.

Values stay those of the file, in its own colours: they are scaled to [0, 1], and not converted to sRGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image, TiffImagePlugin

from dipddpm.core.errors import UserError
from dipddpm.core.io import arrays, colour, metadata, stored, tiff
from dipddpm.core.io.atomic import IMAGE_FORMATS
from dipddpm.core.io.metadata import Metadata
from dipddpm.core.io.samples import Samples, scaled

_FORMATS = (*IMAGE_FORMATS, ".npy")
_FINE = 85
"""The quality of a JPEG below which its blocks count."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Source:
    """The facts about a file from which another file of the same kind is written."""

    ending: str
    """`.png`, `.tif` or `.npy`."""
    dtype: np.dtype[Any]
    """The type of the values that are written."""
    white: float
    """The stored value that is 1 in the pixels."""
    channels: int
    """1 for a grey file and 3 for one in colour, whose pixels may be grey all the same."""
    premultiplied: bool = False
    """True if stored colours are multiplied by the opacity."""
    profile: bytes = b""
    """The colour profile; empty if there is none."""
    metadata: Metadata = field(default_factory=Metadata)
    """EXIF data, resolution and texts."""
    is_stack: bool = False
    """True if an array has the number of pictures as its first dimension, also if that is 1."""


@dataclass(frozen=True, eq=False)
class GivenPicture:
    """One picture of a file."""

    path: Path
    page: int
    """The index of the picture in its file, from 0."""
    pages: int
    """The number of pictures in the file."""
    pixels: NDArray[np.float32]
    """Values, upright, (H, W, C); C is 1 if all channels are equal, else 3. From 0 to 1 unless an array has others."""
    alpha: NDArray[np.float32] | None
    """The opacity in [0, 1], (H, W); None if the file has none."""
    source: Source
    warnings: tuple[str, ...] = ()
    """Sentences about what may be wrong with the file; empty unless this is its first picture."""
    notes: tuple[str, ...] = ()
    """Sentences about what becomes of the file; empty unless this is its first picture."""


def read_given(path: Path, *, white: float = 0, grey: bool = False) -> list[GivenPicture]:
    """Read the pictures of a file: one, or the pages of a TIFF, or the images of an array in a `.npy` file.

    `white` is the value of white in a file of floats or of more than 8 bits; with 0 it is 1 for floats, and otherwise
    the largest value that the type holds. `grey` converts colours to grey (ITU-R BT.601 luma of their sRGB values).

    Raises `UserError`, naming the file, if it is missing, isn't a picture, is damaged or too large, or has pages of
    different sizes or kinds.
    """
    with stored.reading(path, formats=_FORMATS) as file:
        if file.read(len(arrays.SIGNATURE)) == arrays.SIGNATURE:
            array, warnings = arrays.read(file, path, stored.MAX_PIXELS, white)
            return _from_array(array, path, white, warnings, grey=grey)
        samples = _pages(file, path)
        return _from_samples(samples, metadata.read(stored.full_size(file)), path, white, grey=grey)


def with_filled(picture: GivenPicture, known: NDArray[np.bool_]) -> GivenPicture:
    """Return the picture with its transparent pixels opaque where they are missing, because a result has them."""
    if picture.alpha is None:
        return picture
    return replace(picture, alpha=np.where(~known & (picture.alpha < 0.5), np.float32(1), picture.alpha))


def _pages(file: BinaryIO, path: Path) -> list[Samples]:
    """Return the pictures of a file, all of one size and kind."""
    file.seek(0)
    try:
        offsets = tiff.page_offsets(file) if file.read(4) in TiffImagePlugin.PREFIXES else []
    except tiff.UnlistedPagesError:
        problem = f"{path} holds several pictures, and its list of pages names only the first."
        raise UserError(problem, "Save it as a TIFF with a page for each picture, or as a .npy file.") from None
    if len(offsets) < 2:
        return [stored.read(file, path)]
    if len(offsets) > tiff.MAX_PAGES:
        raise UserError(f"{path} has more than {tiff.MAX_PAGES:,} pages, which is the limit.", "Split it.")
    pages: list[Samples] = []
    for page in tiff.at_offsets(file, offsets):
        pages.append(stored.read(page, path))
        if pages[0].values[..., 0].size * len(offsets) > stored.MAX_PIXELS:
            raise Image.DecompressionBombError
        sizes = [f"{each.values.shape[1]}x{each.values.shape[0]} pixels" for each in (pages[-1], pages[0])]
        kinds = [_kind(each) for each in (pages[-1], pages[0])]
        for now, first in (sizes, kinds):
            if now != first:
                problem = f"Page {len(pages)} of {path} has {now}, and page 1 has {first}."
                raise UserError(problem, "Save pages of different sizes or kinds as files of their own.")
    return pages


def _kind(samples: Samples) -> str:
    colours = "colours" if samples.values.shape[-1] == 3 else "grey values"
    opacity = " and an opacity" if samples.alpha is not None else ""
    return f"{colours} of {8 * samples.values.dtype.itemsize} bits{opacity}"


def _from_samples(
    pages: Sequence[Samples], found: Metadata, path: Path, white: float, *, grey: bool
) -> list[GivenPicture]:
    first = pages[0]
    dtype = _written_type(first)
    is_tiff = found.format == "TIFF" or dtype.itemsize > 2
    precise = np.float64 if dtype.kind in "iu" and dtype.itemsize > 2 else np.float32
    scale = white if white and first.values.dtype != np.uint8 else _largest(dtype)
    source = Source(
        ".tif" if is_tiff else ".png", dtype, scale, first.values.shape[-1], first.premultiplied,
        first.profile or b"", found,
    )  # fmt: skip
    warnings: list[str] = []
    planes = []
    for page in pages:
        values, doubts = scaled(page, path, white, "images.white", precise)
        warnings += [text for text in doubts if text not in warnings]
        planes.append(np.ascontiguousarray(values))
    if found.quality < _FINE:
        warnings.append(
            f"{path} is a JPEG of a quality of about {found.quality}, with blocks and smoothed noise that no method "
            "expects. Give the original file if there is one."
        )
    notes: list[str] = []
    if first.converted:
        notes.append(f"{path} is stored as {first.converted}; it is converted to sRGB, and written so.")
    if found.frames > 1:
        notes.append(f"{path} holds an animation of {found.frames} frames; only the first one is restored.")
    alphas = [None if page.alpha is None else page.alpha[..., 0].astype(precise) for page in pages]
    return _pictures(path, planes, alphas, source, warnings=warnings, notes=notes, grey=grey)


def _from_array(
    array: NDArray[Any], path: Path, white: float, warnings: Sequence[str], *, grey: bool
) -> list[GivenPicture]:
    dtype = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    scale = white if white and dtype != np.uint8 else _largest(dtype)
    stack = array if arrays.is_stack(array.shape) else array[None]
    stack = stack if array.shape[-1] in arrays.COLOURS and array.ndim > 2 else stack[..., None]
    source = Source(".npy", dtype, scale, min(stack.shape[-1], 3), is_stack=arrays.is_stack(array.shape))
    unit = (stack / scale).astype(np.float32)
    alphas = [each[..., 3] if each.shape[-1] == 4 else None for each in unit]
    return _pictures(path, [each[..., :3] for each in unit], alphas, source, warnings=warnings, grey=grey)


def _pictures(
    path: Path,
    planes: Sequence[NDArray[Any]],
    alphas: Sequence[NDArray[Any] | None],
    source: Source,
    *,
    warnings: Sequence[str],
    notes: Sequence[str] = (),
    grey: bool,
) -> list[GivenPicture]:
    """Return the pictures of a file, with one channel where all of them are grey or are to be."""
    if source.channels == 3 and all((each == each[..., :1]).all() for each in planes):
        planes = [each[..., :1] for each in planes]
        notes = [*notes, f"{path} is grey stored as RGB: it is restored as grey, and written as RGB."]
    elif source.channels == 3 and grey:
        planes = [(_srgb(each, source.profile) @ LUMA)[..., None] for each in planes]
        has_opacity_in_array = source.ending == ".npy" and alphas[0] is not None  # NumPy has no grey with opacity
        source = replace(source, channels=3 if has_opacity_in_array else 1, profile=b"")
    pictures = [
        GivenPicture(path, index, len(planes), pixels, alpha, source)
        for index, (pixels, alpha) in enumerate(zip(planes, alphas, strict=True))
    ]
    return [replace(pictures[0], warnings=tuple(warnings), notes=tuple(notes)), *pictures[1:]]


def _srgb(pixels: NDArray[Any], profile: bytes) -> NDArray[Any]:
    try:
        return colour.to_srgb(pixels, profile) if profile else pixels
    except colour.ProfileError:
        return pixels


def _written_type(samples: Samples) -> np.dtype[Any]:
    """Return the type of the values in a file of the same kind: as many bits, 8, 16 or 32."""
    if samples.values.dtype.kind == "f":
        return np.dtype(np.float32)
    if not samples.white:
        return samples.values.dtype.newbyteorder("=")
    return np.dtype(np.uint8 if samples.white <= 255 else np.uint16 if samples.white <= 65535 else np.uint32)


def _largest(dtype: DTypeLike) -> float:
    """Return the value of white where nothing else is said."""
    dtype = np.dtype(dtype)
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
