"""Images: value ranges, image files, and grids of images for viewing.

Public images are float in [0, 1], shape (N, C, H, W); networks work in [-1, 1] (model space); data sets are stored as
uint8. Only `to_unit`, `to_model` and `to_bytes` convert between these ranges.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dipddpm.core.io.atomic import atomic_writer
from dipddpm.core.io.pictures import decode

Channels = Literal[1, 3]

SMALLEST_SIDE = 112
"""Images smaller than this are enlarged in pictures by a whole factor, until a side has about this many pixels."""
PICTURE_GAP = 2
"""Width of the white gaps between the images of a picture."""
BRIGHT = 0.99
"""The share of a map of a spread that is darker than white."""
MAGENTA = (1.0, 0.0, 1.0)
"""The colour of pixels that aren't finite."""


def to_unit(images: Tensor) -> Tensor:
    """Convert uint8 in [0, 255], or float in model space [-1, 1], to float in [0, 1].

    Nothing is clipped: network outputs outside [-1, 1] stay outside [0, 1]. Bytes become float32, which `to_bytes`
    converts back to the same bytes.
    """
    if images.dtype == torch.uint8:
        return images.to(torch.float32) / 255
    return (images + 1) / 2


def to_model(images: Tensor) -> Tensor:
    """Convert uint8 in [0, 255], or float in [0, 1], to model space: float in [-1, 1]. Nothing is clipped."""
    if images.dtype == torch.uint8:
        images = to_unit(images)
    return images * 2 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Round float images in [0, 1] to uint8; values outside are clipped. Raises ValueError for NaN and infinity."""
    if not bool(images.isfinite().all()):
        raise ValueError("NaN and infinity are no grey levels")
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def clip_visibly(images: Tensor) -> Tensor:
    """Clip images to [0, 1], but make infinity NaN, so that `save_png` shows it."""
    return images.clamp(0, 1).masked_fill(~images.isfinite(), torch.nan)


def spread_white(spread: Tensor) -> int:
    """Return the grey levels, a power of 2, to show as white in maps of standard deviations (N, C, H, W) in [0, 1].

    Only about a hundredth of the pixels are brighter.
    """
    values = _over_channels(spread).flatten()
    values = values[values.isfinite()]
    if not len(values):
        return 1
    bright = 255 * float(torch.quantile(values[:: max(1, len(values) // 2**20)], BRIGHT))
    return int(2 ** max(0, math.ceil(math.log2(max(bright, 1e-6)))))


def spread_map(spread: Tensor, white: int) -> Tensor:
    """Return grey maps (N, 1, H, W) of standard deviations (N, C, H, W) in [0, 1]; `white` grey levels are 1."""
    return 255 / white * _over_channels(spread)


def spread_name(white: int) -> str:
    """Return the name of a map of a spread, which says its scale."""
    return f"spread, white is {grey_levels(white)}"


def grey_levels(count: int) -> str:
    """Return a number of grey levels in words."""
    return f"{count} grey level{'s' if count > 1 else ''}"


def _over_channels(images: Tensor) -> Tensor:
    return images.square().mean(1, keepdim=True).sqrt()


def load_image(path: Path | str, channels: Channels | None = None, *, white: float = 0) -> Tensor:
    """Read an image file of any size: float32 in [0, 1], shape (1, C, H, W), C = 1 for grey files and 3 for others.

    The first frame is read, rotated upright by its EXIF orientation and converted from its colour profile to sRGB.
    Palettes, CMYK and similar modes become RGB; transparent pixels are blended over white. PNG and TIFF files keep
    their 16 bits, and float files must lie in [0, 1]. `channels` converts any file to grey (ITU-R BT.601 luma) or RGB;
    `white` is the value of white in files of floats or of more than 8 bits, if it isn't 1 or the type's largest value.

    Raises `UserError`, naming the file, if it is missing, isn't an image, is damaged, or has more than 67 million
    pixels.
    """
    pixels = decode(Path(path), white).over_white()
    tensor = torch.from_numpy(pixels).movedim(-1, 0).unsqueeze(0).contiguous()
    return tensor if channels is None else with_channels(tensor, channels)


def with_channels(images: Tensor, channels: Channels) -> Tensor:
    """Convert (N, C, H, W) images, C = 1 or 3, to `channels`: repeat grey to RGB, or take RGB's ITU-R BT.601 luma."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    luma = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * luma).sum(1, keepdim=True)


def save_png(path: Path | str, image: Tensor) -> None:
    """Write one image as an 8-bit PNG: (C, H, W) or (1, C, H, W), C = 1 or 3, float in [0, 1], clipped.

    Pixels that aren't finite are drawn in magenta, which makes a grey image an RGB one.
    A reader gets either the whole old file or the whole new one. The file isn't synced to disk, because waiting for
    the disk at each picture would slow the run down; a power cut may lose a picture.
    """
    image = image.squeeze(0) if image.ndim == 4 else image
    image = image.detach().cpu()
    finite = image.isfinite().all(0)
    if not bool(finite.all()):
        image = torch.where(finite, image.expand(3, -1, -1), image.new_tensor(MAGENTA).view(3, 1, 1))
    pixels = to_bytes(image).movedim(0, -1).squeeze(-1).numpy()
    with atomic_writer(Path(path), durable=False) as file:
        Image.fromarray(pixels).save(file, format="PNG")


def grid(images: Tensor, columns: int | None = None, *, scale: int = 1, gap: int = 1) -> Tensor:
    """Arrange (N, C, H, W) images row by row in one (C, H', W') image, `gap` white pixels between and around them.

    The grid is as square as possible unless `columns` is given. `scale` repeats every pixel of an image, so that 28x28
    images are large enough to view; the gap isn't scaled.
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


def picture(images: Tensor, columns: int) -> Tensor:
    """Arrange images in a grid as runs store it: small images are enlarged to about `SMALLEST_SIDE` pixels."""
    return grid(images, columns, scale=max(1, SMALLEST_SIDE // min(images.shape[-2:])), gap=PICTURE_GAP)


def split_picture(image: Tensor, columns: int, rows: int | None = None) -> Tensor:
    """Return the images (N, C, H, W) of a picture (C, H', W') that `picture` made, exactly and at their own size.

    `rows` must be given for images that aren't square. Raises ValueError for an image that is no such picture.
    """
    channels, height, width = (size - PICTURE_GAP * (axis > 0) for axis, size in enumerate(image.shape))
    rows = rows or height * columns // width
    if rows < 1 or width % columns or height % rows or min(width // columns, height // rows) <= PICTURE_GAP:
        raise ValueError(f"no picture with {columns} columns")
    tiles = image[:, PICTURE_GAP:, PICTURE_GAP:].reshape(channels, rows, height // rows, columns, width // columns)
    tiles = tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)[..., :-PICTURE_GAP, :-PICTURE_GAP]
    scale = next(scale for scale in range(SMALLEST_SIDE, 0, -1) if _is_enlarged(tiles, scale))
    return tiles[..., ::scale, ::scale]


def _is_enlarged(tiles: Tensor, scale: int) -> bool:
    """Return whether `picture` can have enlarged these images by this factor."""
    small = tiles[..., ::scale, ::scale]
    if scale == 1:
        return True
    if scale != SMALLEST_SIDE // min(small.shape[-2:]) or small.shape[-1] * scale != tiles.shape[-1]:
        return False
    return torch.equal(small.repeat_interleave(scale, -2).repeat_interleave(scale, -1), tiles)
