"""Write restored pictures as files of the kind that the damaged ones were read from. Loads no torch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dipddpm.core.io import png, tiff_tags
from dipddpm.core.io.atomic import atomic_writer
from dipddpm.core.io.given import LUMA, GivenPicture, Source

_CLASSIC = 4_000_000_000
"""Bytes of pixels above which a TIFF is a BigTIFF."""


def write_like(path: Path, restored: Sequence[NDArray[Any]], given: Sequence[GivenPicture]) -> None:
    """Write the restored pictures of one file, each (H, W, C) in [0, 1], with the bits and the metadata of the given.

    Values are clipped, unless they are floats of an array, and rounded to the nearest level. A grey picture becomes RGB
    where the given file is, and the other way round. The opacity is that of the given picture, at the size of the
    restored one. A reader gets the whole old file or the whole new one. Raises OSError.
    """
    source = given[0].source
    pages = [_stored(pixels, picture) for pixels, picture in zip(restored, given, strict=True)]
    with atomic_writer(path) as file:
        if source.ending == ".npy":
            stack = np.stack(pages) if source.is_stack else pages[0]
            np.save(file, stack[..., 0] if stack.shape[-1] == 1 else stack, allow_pickle=False)
        elif source.ending == ".tif":
            _write_tiff(file, pages, source)
        else:
            profile = (png.profile_chunk(source.profile),) if source.profile else ()
            exif = ((b"eXIf", source.metadata.exif),) if source.metadata.exif else ()
            png.write(file, pages[0], (*profile, *source.metadata.chunks, *exif))


def _stored(pixels: NDArray[Any], given: GivenPicture) -> NDArray[Any]:
    """Return the values of a file, with its opacity as the last channel if it has one."""
    source = given.source
    if pixels.shape[-1] > source.channels:
        pixels = (pixels @ LUMA)[..., None]
    elif pixels.shape[-1] < source.channels:
        pixels = np.repeat(pixels, source.channels, -1)
    alpha = None if given.alpha is None else _sized(given.alpha, (pixels.shape[0], pixels.shape[1]))[..., None]
    if alpha is not None and source.premultiplied:
        pixels = np.where(alpha > 0, pixels * alpha, pixels)
    opaque = source.white if source.ending == ".npy" or source.dtype.kind == "f" else _largest(source.dtype)
    values = _levels(pixels, source.white, source)
    return values if alpha is None else np.concatenate([values, _levels(alpha, opaque, source)], -1)


def _levels(unit: NDArray[Any], white: float, source: Source) -> NDArray[Any]:
    if source.ending == ".npy" and source.dtype.kind == "f":
        return (unit * white).astype(source.dtype)
    precise = np.float64 if source.dtype.itemsize > 1 else np.float32
    levels: NDArray[Any] = np.nan_to_num(unit.astype(precise), nan=0.0).clip(0, 1) * precise(white)
    return (levels if source.dtype.kind == "f" else levels.round()).astype(source.dtype)


def _largest(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max)


def _sized(alpha: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return the opacity at the size (H, W) of a picture that super-resolution has enlarged."""
    if alpha.shape == size:
        return alpha
    enlarged = Image.fromarray(alpha.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(enlarged).clip(0, 1)


def _write_tiff(file: BinaryIO, pages: Sequence[NDArray[Any]], source: Source) -> None:
    import tifffile

    large = sum(page.nbytes for page in pages) > _CLASSIC
    options = tiff_tags.options(source.metadata.tags)
    channels = pages[0].shape[-1]
    if channels > source.channels:
        options["extrasamples"] = ["assocalpha" if source.premultiplied else "unassalpha"]
    if source.profile:
        options["iccprofile"] = source.profile
    photometric = "rgb" if source.channels == 3 else "minisblack"
    content = io.BytesIO()
    with tifffile.TiffWriter(content, bigtiff=large, byteorder="<") as writer:
        for page in pages:
            values = page[..., 0] if channels == 1 else page
            writer.write(
                values, photometric=photometric, planarconfig="contig" if channels > 1 else None,
                compression="adobe_deflate", predictor=values.dtype.kind != "f", **options,
            )  # fmt: skip
    if source.metadata.exif_directories and not large:
        tiff_tags.append_exif(content, source.metadata.exif_directories)
    file.write(content.getbuffer())
