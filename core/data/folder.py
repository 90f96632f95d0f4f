"""A folder of image files as a data set: `folder:PATH`, or `folder:PATH@64` for images of 64x64 pixels.

Subfolders are classes, as in torchvision's `ImageFolder`; a folder of files alone is one class. With subfolders
`train` and `test` these are the splits; else every tenth file, in the order of their names, is for testing.
Each image is cropped to its central square and resized: to 28 pixels, which the tutorial network wants, unless the
name says otherwise. A folder of grey images stays grey; one RGB image among them makes all of them RGB.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.core.data.catalogue import Split
from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "folder:"
SIZES = range(8, 1025)
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Folder:
    """A folder of images, found but not read."""

    path: Path
    size: int = 28
    """Height and width that its images are brought to."""

    @cached_property
    def files(self) -> list[Path]:
        """All image files by their ending, sorted; hidden ones, which file managers leave behind, aren't meant."""
        tops = [self.path / "test", self.path / "train"] if self.is_split else [self.path]
        paths = (path for top in tops for path in top.rglob("*") if path.suffix.lower() in _SUFFIXES)
        return sorted(path for path in paths if path.is_file() and not path.name.startswith("."))

    @property
    def is_split(self) -> bool:
        """Whether it has subfolders `train` and `test`."""
        return all((self.path / name).is_dir() for name in ("train", "test"))

    def label(self, file: Path) -> str:
        """The class of a file: the subfolder that it is in; of one in no subfolder, the name of the whole folder."""
        parts = file.relative_to(self.path).parts[self.is_split :]
        return parts[0] if len(parts) > 1 else self.path.resolve().name

    def split(self, split: Split) -> list[Path]:
        """The image files of a split; raises `UserError` if it has none."""
        if self.is_split:
            files = [file for file in self.files if file.is_relative_to(self.path / split)]
        else:
            files = [file for index, file in enumerate(self.files) if (index % 10 == 9) == (split == "test")]
        if not files:
            problem = f"There is no image for the {split} split in {self.path}."
            raise UserError(problem, "Give at least ten, every tenth is for testing, or put some in train and in test.")
        return files


def parse(name: str) -> Folder:
    """The folder that `folder:PATH` or `folder:PATH@SIZE` means.

    Raises `UserError` if it isn't there or has no image in it, or if its images can't be brought to that size.
    """
    text = name.removeprefix(PREFIX)
    sized = None if Path(text).is_dir() else re.fullmatch(r"(.+)@(\d+)", text)
    folder = Folder(Path(sized[1]), int(sized[2])) if sized else Folder(Path(text))
    if not text or not folder.path.is_dir():
        raise UserError(f"There is no folder {folder.path}.", f"Give one that exists after {PREFIX}")
    if folder.size not in SIZES:
        problem = f"Images of {folder.size}x{folder.size} pixels are too small or too large to learn from."
        raise UserError(problem, f"Choose a size from {SIZES[0]} to {SIZES[-1]}.")
    if not folder.files:
        raise UserError(f"There is no image in {folder.path}.", f"Put some there: {', '.join(sorted(_SUFFIXES))}.")
    return folder


def read(folder: Folder, split: Split) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The images of a split, uint8 (N, C, size, size), their labels, int64 (N,), and the names of the classes.

    Raises `UserError`, with its name, for a file that is no image or can't be read.
    """
    import torch

    from dipddpm.core.images import Channels, with_channels

    files = folder.split(split)
    with ThreadPoolExecutor() as threads:  # decoding leaves Python's lock to others
        images = list(threads.map(lambda file: _square(file, folder.size), files))
    channels: Channels = 3 if any(image.shape[1] == 3 for image in images) else 1
    classes = sorted({folder.label(file) for file in folder.files})
    labels = torch.tensor([classes.index(folder.label(file)) for file in files])
    return torch.cat([with_channels(image, channels) for image in images]), labels, tuple(classes)


def _square(file: Path, size: int) -> Tensor:
    """The central square of an image file at `size` pixels: uint8, shape (1, C, size, size)."""
    import torch.nn.functional as F

    from dipddpm.core.images import load_image, to_bytes

    image = load_image(file)
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[..., top : top + side, left : left + side]
    return to_bytes(F.interpolate(square, (size, size), mode="bicubic", antialias=True))
