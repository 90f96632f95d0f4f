"""Images in and out: value ranges, image files, and grids of images to look at.

Public images are float in [0, 1], shape (N, C, H, W); networks work in [-1, 1] (model space); data sets are held as
uint8. `to_unit`, `to_model` and `to_bytes` are the only place where one becomes another.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dipddpm.core.errors import UserError
from dipddpm.core.io.atomic import IMAGE_FORMATS, atomic_writer, open_regular

Channels = Literal[1, 3]

MAX_PIXELS = 64 * 2**20
"""The most pixels that an image file may have: as float RGB it would fill 800 MB."""

# Larger files are refused below with a sentence of our own; Pillow's warning before it would only be noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def to_unit(images: Tensor) -> Tensor:
    """Bring uint8 in [0, 255], or float in model space [-1, 1], to float in [0, 1].

    Nothing is clipped: what a network puts outside [-1, 1] stays outside [0, 1]. Bytes become float32, from which
    `to_bytes` makes the very same bytes.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32) / 255
    return (images + 1) / 2


def to_model(images: Tensor) -> Tensor:
    """Bring uint8 in [0, 255], or float in [0, 1], to model space: float in [-1, 1]. Nothing is clipped."""
    if images.dtype == torch.uint8:
        images = to_unit(images)
    return images * 2 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Round float images in [0, 1] to uint8. What lies outside is clipped; NaN, of a fit gone wrong, becomes black."""
    return images.nan_to_num(nan=0.0).clamp(0, 1).mul(255).round().to(torch.uint8)


def load_image(path: Path | str, channels: Channels | None = None) -> Tensor:
    """Read an image file of any size: float32 in [0, 1], shape (1, C, H, W), C = 1 for grey files and 3 for others.

    The first frame is read and turned upright as its EXIF says. Palettes, CMYK and the like become RGB; what is
    transparent is blended over white. Grey files keep their 16 bits, float ones must lie in [0, 1], and 16-bit colour
    comes out at 8 bits, which is Pillow's limit. `channels` asks for grey (ITU-R BT.601 luma) or RGB whatever the file.

    Raises `UserError`, naming the file, where it is missing, no image, damaged, or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    try:
        with open_regular(path) as file, Image.open(file, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            pixels = _pixels(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError(f"There is no image file {path}.", "Check the path.") from None
    except UnidentifiedImageError:
        raise UserError(f"{path} is no image that can be read.", f"Give one of {', '.join(IMAGE_FORMATS)}.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the warning where warnings are errors
        problem = f"{path} has more than {MAX_PIXELS:,} pixels, the most that is read."
        raise UserError(problem, "Scale it down or cut a part out of it.") from None
    except _OutOfRangeError as error:
        raise UserError(f"{path} has values outside {error}.", "Scale its values or save it as 8 bits.") from None
    except Exception as error:  # on broken files Pillow's decoders raise almost anything, from OSError to SyntaxError
        if isinstance(error, OSError) and error.strerror:
            raise UserError(
                f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
            ) from None
        raise UserError(f"{path} is damaged or cut short.", "Copy or save it again.") from None
    tensor = torch.from_numpy(pixels).movedim(-1, 0).unsqueeze(0).contiguous()
    return tensor if channels is None else with_channels(tensor, channels)


def with_channels(images: Tensor, channels: Channels) -> Tensor:
    """Bring (N, C, H, W) images with C = 1 or 3 to `channels`: grey repeated to RGB, or RGB to ITU-R BT.601 luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    luma = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * luma).sum(1, keepdim=True)


def save_png(path: Path | str, image: Tensor) -> None:
    """Write one image as an 8-bit PNG: (C, H, W) or (1, C, H, W), C = 1 or 3, float in [0, 1], clipped.

    A reader sees the old file or the new one, whole. The file isn't synced to disk: a power cut may lose a picture,
    and waiting for the disk at each one would slow the run down.
    """
    image = image.squeeze(0) if image.ndim == 4 else image
    pixels = to_bytes(image.detach().cpu()).movedim(0, -1).squeeze(-1).numpy()
    with atomic_writer(Path(path), durable=False) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def grid(images: Tensor, columns: int | None = None, *, scale: int = 1, gap: int = 1) -> Tensor:
    """Lay (N, C, H, W) images out row by row in one (C, H', W') image, `gap` white pixels between and around them.

    As square as can be unless `columns` says otherwise. `scale` repeats every pixel of an image, so that 28x28 ones
    can be looked at; the gap isn't scaled.
    """
    count = len(images)
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    tiles = F.pad(tiles, (gap, 0, gap, 0), value=1.0)
    tiles = F.pad(tiles, (0, 0, 0, 0, 0, 0, 0, rows * columns - count), value=1.0)
    _, channels, height, width = tiles.shape
    laid = tiles.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return F.pad(laid.reshape(channels, rows * height, columns * width), (0, gap, 0, gap), value=1.0)


class _OutOfRangeError(Exception):
    """An image whose values can't be brought to [0, 1] without guessing."""


def _pixels(image: Image.Image) -> NDArray[np.float32]:
    """The pixels of an upright Pillow image: float32 in [0, 1], shape (H, W, C), C = 1 or 3."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow holds in 16 or in 32 bits
        return _within(np.asarray(image), 65535)
    if image.mode == "F":
        return _within(np.asarray(image), 1)
    grey = image.mode in {"1", "L", "LA", "La"}
    if not image.has_transparency_data:
        return _within(np.atleast_3d(np.asarray(image.convert("L" if grey else "RGB"))), 255)
    pixels = _within(np.asarray(image.convert("LA" if grey else "RGBA")), 255)
    colour, alpha = pixels[..., :-1], pixels[..., -1:]
    return colour * alpha + (1 - alpha)


def _within(values: NDArray[Any], white: int) -> NDArray[np.float32]:
    if not (values.min() >= 0 and values.max() <= white):
        raise _OutOfRangeError(f"[0, {white}]")
    return np.atleast_3d(values).astype(np.float32) / np.float32(white)
