"""Read what a picture file stores: its values at their depth, its opacity and its profile. Loads no torch.

Everything that reads a picture passes here, so that a check before a run and the run itself say the same.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dipddpm.core.errors import UserError
from dipddpm.core.io import colour, deep, foreign, tiff
from dipddpm.core.io.atomic import IMAGE_FORMATS, open_regular
from dipddpm.core.io.samples import MASK_REMEDY, OutOfRangeError, Samples, UnreadableError

MAX_PIXELS = 64 * 2**20
"""Largest number of pixels in an image file; as float RGB, so many take 800 MB."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_SRGB_GAMMA = 1 / 2.2
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""The chromaticities of white, red, green and blue, x and y each."""
_MAX_TEXT = 64 * 2**20
"""Bytes of the texts in a PNG, which are ignored; by default, Pillow refuses pictures with a text of 1 MB."""

# `read` refuses larger files with its own message, so Pillow's warning is redundant.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT
# Broken EXIF data and the like don't matter here, and the command line would show the warning.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@contextlib.contextmanager
def reading(path: Path, option: str = "images.white", *, formats: Sequence[str] = IMAGE_FORMATS) -> Iterator[BinaryIO]:
    """Open a picture file, and raise `UserError` in place of any exception of the block.

    For messages: `option` is the option that sets the value of white, empty for a mask, which has none, and `formats`
    are those that the block reads.
    """
    try:
        with open_regular(path) as file:
            yield file
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except IsADirectoryError:
        problem = f"{path} is a folder, not an image file."
        raise UserError(problem, f"Name the files in it, or take it as a data set: --dataset folder:{path}") from None
    except UnidentifiedImageError:
        remedy = f"Give a file in one of these formats: {', '.join(formats)}."
        raise UserError(f"{path} is not a readable image.", remedy) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the warning, if warnings are errors
        problem = f"{path} has more than {MAX_PIXELS:,} pixels, which is the limit."
        raise UserError(problem, "Scale the image down or crop it.") from None
    except tiff.RawError:
        raise UserError(f"{path} is a camera's raw file, which is not read as an image.", foreign.RAW_REMEDY) from None
    except UnreadableError as error:
        problem = f"{path} is a TIFF file of a kind that is not read ({error})."
        raise UserError(problem, "Save it as a PNG, or as an uncompressed TIFF with 8 or 16 bits.") from None
    except OutOfRangeError as error:
        remedy = f"Scale the values, say which value is white with --set {option}=VALUE, or save 8 bits."
        raise UserError(f"{path} has {error}.", remedy if option else MASK_REMEDY) from None
    except MemoryError:
        raise UserError(f"There is not enough memory to read {path}.", "Scale the image down or crop it.") from None
    except Exception as error:  # on broken files the decoders raise almost anything, from OSError to SyntaxError
        if isinstance(error, OSError) and error.strerror:
            raise UserError(
                f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
            ) from None
        raise UserError(f"{path} is damaged or cut short.", "Copy or save the file again.") from None


def read(file: BinaryIO, path: Path) -> Samples:
    """Read the first image of an open file, upright; `path` is named in messages.

    Raises `UserError` for a file of a known kind that isn't read. Within `reading`, other exceptions become one, too.
    """
    file.seek(0)
    start = file.read(1 << 16)
    if kind := foreign.recognize(path, start):
        raise UserError(f"{path} is {kind[0]}, which is not read as an image.", kind[1])
    full = full_size(file)
    try:
        image = Image.open(full, formats=IMAGE_FORMATS)
    except UnidentifiedImageError:
        if start[:4] not in TiffImagePlugin.PREFIXES:
            raise
        return tiff.read(full, MAX_PIXELS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if tiff.pillow_misreads(image):
            return tiff.read(full, MAX_PIXELS)
        if tiff.is_premultiplied(image):
            with contextlib.suppress(UnreadableError):  # Pillow reads more compressions, but rounds the colours
                return tiff.read(full, MAX_PIXELS)
            full.seek(0)
    if (samples := deep.read(image, full)) is not None:
        return samples
    return _from_image(ImageOps.exif_transpose(_whole(image)), path, _declared(image, start))


def _missing(path: Path) -> UserError:
    """Return the error for a path at which there is no file."""
    if _URL.match(str(path)):
        slashes = "///" if str(path).startswith("file:") else "//"
        address = str(path).replace(":/", f":{slashes}", 1)  # a path has one slash where the address had several
        return UserError(f"{address} is an address, not a file.", "Download the file, and give its path alone.")
    if path.name == "-":
        return UserError("An image can't be read from a pipe.", "Save it to a file, and give its path.")
    if any(sign in path.name for sign in "*?["):
        return UserError(f"There is no image file {path}.", "Patterns aren't expanded here: name each file.")
    return UserError(f"There is no image file {path}.", "Check the path.")


def full_size(file: BinaryIO) -> BinaryIO:
    """Return the file, or a copy of a TIFF in memory whose first image is the picture and not its small preview."""
    file.seek(0)
    preview = file.read(4) in TiffImagePlugin.PREFIXES and tiff.is_preview(file)
    full = tiff.full_size(file) if preview else None
    file.seek(0)
    return full or file


def _whole(image: Image.Image) -> Image.Image:
    """Make transparent what the first frame of a GIF leaves out, where Pillow takes any colour of the palette."""
    tiles: Any = getattr(image, "tile", None)
    box = tiles[0].extents if tiles and image.format == "GIF" else (0, 0, *image.size)
    if box == (0, 0, *image.size):
        return image
    mode = "LA" if stored_grey(image) else "RGBA"
    whole = Image.new(mode, image.size)
    whole.paste(image.convert(mode).crop(box), box)
    return whole


def stored_grey(image: Image.Image) -> bool:
    """Return whether the mode is grey; I and F are 16-bit and float grey."""
    return image.mode in {"1", "L", "LA", "La", "F"} or image.mode.startswith("I")


def _from_image(image: Image.Image, path: Path, declared: str) -> Samples:
    """Return the values of an upright Pillow image of 8 bits."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        doubts: tuple[str, ...] = ()
        if profile:
            try:
                image = colour.cmyk_to_srgb(image, profile)
            except colour.ProfileError:
                doubts = (unusable_profile(path),)
        return Samples(_bytes(image.convert("RGB")), 255, doubts=doubts, declared=declared, converted="CMYK")
    converted = "CIELab" if image.mode == "LAB" else ""
    if converted:
        profile = None  # the values are absolute colours
    grey = stored_grey(image)
    if not image.has_transparency_data:
        values, alpha = _bytes(image.convert("L" if grey else "RGB")), None
    else:
        both = _bytes(image.convert("LA" if grey else "RGBA"))
        values, alpha = both[..., :-1], both[..., -1:].astype(np.float32) / np.float32(255)
    return Samples(values, 255, alpha, profile=profile, declared=declared, converted=converted)


def unusable_profile(path: Path) -> str:
    """Return the warning about a profile that can't be used."""
    return f"The colour profile of {path} is damaged or for other colours; it is read as sRGB."


def _declared(image: Image.Image, start: bytes) -> str:
    """Return which colours a PNG or EXIF data declare without a profile, which aren't followed; empty for none."""
    return _declared_in_png(image, start) if image.format == "PNG" else _declared_in_exif(image)


def _declared_in_png(image: Image.Image, start: bytes) -> str:
    """Return which colours the chunks of a PNG declare, if they aren't those of sRGB."""
    position = start.find(b"cICP") + 4
    if position > 3 and start[position : position + 2] != b"\x01\x0d":
        return "colours that are not sRGB (cICP)"
    if "srgb" in image.info or "icc_profile" in image.info:
        return ""
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity", ())
    if gamma is not None and abs(gamma - _SRGB_GAMMA) > 0.02:
        return f"a gamma of {gamma:g} (gAMA)"
    differ = any(abs(x - y) > 0.01 for x, y in zip(primaries, _SRGB_PRIMARIES, strict=False))
    return "colours that are not sRGB (cHRM)" if differ and not stored_grey(image) else ""


def _declared_in_exif(image: Image.Image) -> str:
    """Return whether EXIF data, as cameras write them, declare Adobe RGB."""
    if "icc_profile" in image.info:
        return ""
    with contextlib.suppress(Exception):  # broken EXIF data raise almost anything, and don't matter
        exif = image.getexif()
        space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        interoperability = str(exif.get_ifd(ExifTags.IFD.Interop).get(1, ""))
        if space == 2 or interoperability.startswith("R03"):
            return "the colours of Adobe RGB (EXIF)"
    return ""


def _bytes(image: Image.Image) -> NDArray[np.uint8]:
    return np.atleast_3d(np.asarray(image))
