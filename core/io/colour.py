"""Colour profiles: convert pictures to sRGB, in which the program works and writes."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_TOLERANCE = 1
"""A profile that moves no value by more 8-bit levels than this is sRGB: the picture's values stay as they are."""
_BAND = 1 << 20
"""The number of pixels that are converted together, so that deep pictures don't need much memory."""


class ProfileError(Exception):
    """A colour profile is broken, or doesn't fit the picture."""


def to_srgb(colour: NDArray[np.float32], profile: bytes) -> NDArray[np.float32]:
    """Convert values in [0, 1], (H, W, C), from a profile to sRGB; the same values if the profile is sRGB.

    Between the colours of 8 bits the conversion is interpolated. Raises `ProfileError`.
    """
    space, source = _parse(profile)
    if colour.shape[-1] == 1:
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        mode = {"GRAY": "L", "RGB": "RGB"}.get(space)
        if mode is None:
            raise ProfileError(space)
        # Optimized, dark grey levels of a linear profile would be up to 10 levels too dark.
        curve = _array(_converted(ramp.convert(mode), source, ImageCms.Flags.NOOPTIMIZE))[0, :, 1]
        if np.abs(curve - np.arange(256)).max() <= _TOLERANCE:
            return colour
        managed: NDArray[np.float32] = np.interp(colour * 255, np.arange(256), curve / 255).astype(np.float32)
        return managed
    if space != "RGB":
        raise ProfileError(space)
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    probe = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    if np.abs(_array(_converted(Image.fromarray(probe), source)) - probe.astype(np.float32)).max() <= _TOLERANCE:
        return colour
    rows = max(1, _BAND // colour.shape[1])
    bands = (colour[top : top + rows] for top in range(0, len(colour), rows))
    return np.concatenate([_of_band(band, source) for band in bands])


def cmyk_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert a CMYK image to sRGB by its profile. Raises `ProfileError`."""
    space, source = _parse(profile)
    if space != "CMYK":
        raise ProfileError(space)
    return _converted(image, source)


def _parse(profile: bytes) -> tuple[str, ImageCms.ImageCmsProfile]:
    try:
        parsed = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return parsed.profile.xcolor_space.strip(), parsed
    except (OSError, ImageCms.PyCMSError) as error:
        raise ProfileError(str(error)) from None


def _converted(
    image: Image.Image, source: ImageCms.ImageCmsProfile, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> Image.Image:
    """Return the image in sRGB, with the perceptual intent."""
    try:
        srgb = ImageCms.createProfile("sRGB")
        converted: Any = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB", flags=flags)
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        raise ProfileError(str(error)) from None
    assert isinstance(converted, Image.Image)
    return converted


def _of_band(colour: NDArray[np.float32], source: ImageCms.ImageCmsProfile) -> NDArray[np.float32]:
    """Return colours in [0, 1], of any depth, in sRGB."""
    levels = colour * np.float32(255)
    below = levels.round()
    if np.abs(levels - below).max() < 1e-3:  # the file has 8 bits
        return _of_levels(below, source)
    below = np.floor(np.minimum(levels, 254))
    share, managed = levels - below, np.zeros_like(colour)
    for corner in itertools.product((0, 1), repeat=3):  # between 8-bit colours, by trilinear interpolation
        weight = np.where(corner, share, 1 - share).prod(-1, keepdims=True)
        managed += weight * _of_levels(below + np.array(corner, np.float32), source)
    return managed


def _of_levels(levels: NDArray[np.float32], source: ImageCms.ImageCmsProfile) -> NDArray[np.float32]:
    """Return colours of 8 bits, 0 to 255, in sRGB, in [0, 1]."""
    return _array(_converted(Image.fromarray(levels.astype(np.uint8)), source)) / np.float32(255)


def _array(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image).astype(np.float32)
