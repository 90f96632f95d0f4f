"""Read picture files as people have them: any depth, colour profile, transparency and orientation. Loads no torch.

Everything that reads a picture passes here, so that a check before a run and the run itself say the same.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from dipddpm.core.errors import UserError
from dipddpm.core.io import colour, deep, foreign, tiff
from dipddpm.core.io.atomic import IMAGE_FORMATS, open_regular

MAX_PIXELS = 64 * 2**20
"""Largest number of pixels in an image file; as float RGB, so many take 800 MB."""
MASK_REMEDY = "Make missing pixels black (0) and known ones white (255)."
_NOT_FINITE_REMEDIES = {
    "images.white": "Give them values, and mark them as missing in a mask.",
    "data.white": "Give them values, or leave the file out of the folder.",
    "": MASK_REMEDY,
}
"""The remedy for pixels that are not finite, by the option of `decode`."""
_MAX_INSPECTED = 4096
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_SRGB_GAMMA = 1 / 2.2
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""The chromaticities of white, red, green and blue, x and y each."""
_MAX_TEXT = 64 * 2**20
"""Bytes of the texts in a PNG, which are ignored; by default, Pillow refuses pictures with a text of 1 MB."""

# `decode` refuses larger files with its own message, so Pillow's warning is redundant.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TEXT
# Broken EXIF data and the like don't matter here, and the command line would show the warning.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


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
    try:
        with open_regular(path) as file:
            before = version(path)
            picture = _decode(file, path, white, option)
            _remember(path, white, before, picture)
            return picture
    except UserError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except IsADirectoryError:
        problem = f"{path} is a folder, not an image file."
        raise UserError(problem, f"Name the files in it, or take it as a data set: --dataset folder:{path}") from None
    except UnidentifiedImageError:
        formats = ", ".join(IMAGE_FORMATS)
        remedy = f"Give a file in one of these formats: {formats}."
        raise UserError(f"{path} is not a readable image.", remedy) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the warning, if warnings are errors
        problem = f"{path} has more than {MAX_PIXELS:,} pixels, which is the limit."
        raise UserError(problem, "Scale the image down or crop it.") from None
    except tiff.RawError:
        raise UserError(f"{path} is a camera's raw file, which is not read as an image.", foreign.RAW_REMEDY) from None
    except tiff.UnreadableError as error:
        problem = f"{path} is a TIFF file of a kind that is not read ({error})."
        raise UserError(problem, "Save it as a PNG, or as an uncompressed TIFF with 8 or 16 bits.") from None
    except _OutOfRangeError as error:
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
        with open_regular(path) as file, Image.open(_full_size(file), formats=IMAGE_FORMATS) as image:
            return _stored_grey(image) or deep.raw_mode(image) == "LA;16B"
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


class _OutOfRangeError(Exception):
    """An image has values that can't be mapped to [0, 1] without guessing."""


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


def _decode(file: BinaryIO, path: Path, white: float, option: str) -> Picture:
    start = file.read(1 << 16)
    if kind := foreign.recognize(path, start):
        raise UserError(f"{path} is {kind[0]}, which is not read as an image.", kind[1])
    full = _full_size(file)
    try:
        image = Image.open(full, formats=IMAGE_FORMATS)
    except UnidentifiedImageError:
        if start[:4] not in TiffImagePlugin.PREFIXES:
            raise
        return _from_samples(tiff.read(full, MAX_PIXELS), path, white, option)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if isinstance(image, TiffImagePlugin.TiffImageFile) and tiff.pillow_misreads(image):
        return _from_samples(tiff.read(full, MAX_PIXELS), path, white, option)
    if (samples := deep.read(image, full)) is not None:
        return _from_samples(samples, path, white, option)
    return _from_image(ImageOps.exif_transpose(_whole(image)), path, _doubts(image, start, path))


def _full_size(file: BinaryIO) -> BinaryIO:
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
    mode = "LA" if _stored_grey(image) else "RGBA"
    whole = Image.new(mode, image.size)
    whole.paste(image.convert(mode).crop(box), box)
    return whole


def _stored_grey(image: Image.Image) -> bool:
    """Return whether the mode is grey; I and F are 16-bit and float grey."""
    return image.mode in {"1", "L", "LA", "La", "F"} or image.mode.startswith("I")


def _from_samples(samples: tiff.Samples, path: Path, white: float, option: str) -> Picture:
    """Scale stored values to [0, 1]."""
    values, smallest, largest = samples.values, samples.values.min(), samples.values.max()
    scale = (largest or 1.0) if white == math.inf else white or samples.white
    if not scale:
        raise tiff.UnreadableError("signed integers, in which white is not defined")
    if not np.isfinite([smallest, largest]).all():
        problem = f"{path} has pixels that are not finite (NaN or infinity)."
        raise UserError(problem, _NOT_FINITE_REMEDIES[option])
    if not (smallest >= 0 and largest <= scale):
        raise _OutOfRangeError(f"values outside [0, {scale:,.15g}]: {smallest:,.7g} to {largest:,.7g}")
    doubts = []
    if not white and samples.white > 255 and 0 < largest < samples.white / 4:
        bits = max(8, int(largest).bit_length())
        doubts.append(
            f"{path} is very dark: its largest value is {largest:,} of {samples.white:,.0f}. If its white has {bits} "
            f"bits, add --set {option}={2**bits - 1}."
        )
    colours = (values / scale).astype(np.float32)
    alpha = None if samples.alpha is None else samples.alpha.astype(np.float32)
    if samples.premultiplied and alpha is not None:
        colours = np.clip(np.divide(colours, alpha, where=alpha > 0, out=colours), 0, 1)
    return _managed(colours, alpha, samples.profile, path, doubts)


def _from_image(image: Image.Image, path: Path, doubts: list[str]) -> Picture:
    """Convert an upright Pillow image of 8 bits."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        if profile:
            try:
                image = colour.cmyk_to_srgb(image, profile)
            except colour.ProfileError:
                doubts.append(_unusable(path))
        return Picture(_unit(image.convert("RGB")), warnings=tuple(doubts))
    if image.mode == "LAB":
        profile = None  # the values are absolute colours
    grey = _stored_grey(image)
    if not image.has_transparency_data:
        return _managed(_unit(image.convert("L" if grey else "RGB")), None, profile, path, doubts)
    values = _unit(image.convert("LA" if grey else "RGBA"))
    return _managed(values[..., :-1], values[..., -1:], profile, path, doubts)


def _managed(
    values: NDArray[np.float32],
    alpha: NDArray[np.float32] | None,
    profile: bytes | None,
    path: Path,
    doubts: list[str],
) -> Picture:
    """Convert colours to sRGB by the file's profile."""
    if profile:
        try:
            values = colour.to_srgb(values, profile)
        except colour.ProfileError:
            doubts.append(_unusable(path))
    return Picture(np.ascontiguousarray(values), alpha, tuple(doubts))


def _unusable(path: Path) -> str:
    return f"The colour profile of {path} is damaged or for other colours; it is read as sRGB."


def _doubts(image: Image.Image, start: bytes, path: Path) -> list[str]:
    """Return a warning about colours that a PNG or EXIF data declare without a profile, which aren't followed."""
    if declared := _declared_in_png(image, start) if image.format == "PNG" else _declared_in_exif(image):
        return [f"{path} has {declared}, and is read as sRGB. Convert it to sRGB first."]
    return []


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
    return "colours that are not sRGB (cHRM)" if differ and not _stored_grey(image) else ""


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


def _unit(image: Image.Image) -> NDArray[np.float32]:
    return np.atleast_3d(np.asarray(image)).astype(np.float32) / np.float32(255)
