"""A folder of image files as a data set: `folder:PATH`, or `folder:PATH@64` for images of 64x64 pixels.

Subfolders are classes, as in torchvision's `ImageFolder`; a folder without subfolders is one class. Subfolders named
`train` and `test` are the splits; without them, every tenth file, sorted by name, is a test image. Each image is
cropped to its central square and resized, by default to 28x28 pixels, which the tutorial network needs. The images stay
grey if all of them are; one RGB image makes all of them RGB.
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
    """A folder of images that haven't been read yet."""

    path: Path
    size: int = 28
    """The height and width in pixels to which the images are resized."""

    @cached_property
    def files(self) -> list[Path]:
        """All image files by their suffix, sorted, without hidden files, which file managers leave behind."""
        tops = [self.path / "test", self.path / "train"] if self.is_split else [self.path]
        paths = (path for top in tops for path in top.rglob("*") if path.suffix.lower() in _SUFFIXES)
        return sorted(path for path in paths if path.is_file() and not path.name.startswith("."))

    @property
    def is_split(self) -> bool:
        """True if the folder has the subfolders `train` and `test`."""
        return all((self.path / name).is_dir() for name in ("train", "test"))

    def label(self, file: Path) -> str:
        """Return the class of a file: the name of its subfolder, or of the whole folder if it is in no subfolder."""
        parts = file.relative_to(self.path).parts[self.is_split :]
        return parts[0] if len(parts) > 1 else self.path.resolve().name

    def split(self, split: Split) -> list[Path]:
        """Return the image files of a split. Raises `UserError` if there are none."""
        if self.is_split:
            files = [file for file in self.files if file.is_relative_to(self.path / split)]
        else:
            files = [file for index, file in enumerate(self.files) if (index % 10 == 9) == (split == "test")]
        if not files:
            problem = f"There is no image for the {split} split in {self.path}."
            remedy = "Give at least ten images, of which every tenth is a test image, or subfolders train and test."
            raise UserError(problem, remedy)
        return files


def parse(name: str) -> Folder:
    """Parse `folder:PATH` or `folder:PATH@SIZE`, with SIZE in pixels from 8 to 1024.

    Raises `UserError` if the folder doesn't exist or holds no image, and for another size.
    """
    text = name.removeprefix(PREFIX)
    sized = None if Path(text).is_dir() else re.fullmatch(r"(.+)@(\d+)", text)
    folder = Folder(Path(sized[1]), int(sized[2])) if sized else Folder(Path(text))
    if not text or not folder.path.is_dir():
        raise UserError(f"There is no folder {folder.path}.", f"Give the path of an existing folder after {PREFIX}")
    if folder.size not in SIZES:
        problem = f"Images of {folder.size}x{folder.size} pixels are too small or too large to train on."
        raise UserError(problem, f"Choose a size from {SIZES[0]} to {SIZES[-1]}.")
    if not folder.files:
        remedy = f"Add image files with one of these suffixes: {', '.join(sorted(_SUFFIXES))}."
        raise UserError(f"There is no image in {folder.path}.", remedy)
    return folder


def read(folder: Folder, split: Split) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read the images of a split, uint8 (N, C, size, size), their labels, int64 (N,), and the names of the classes.

    Raises `UserError`, naming the file, for a file that isn't an image or can't be read.
    """
    import torch

    from dipddpm.core.images import Channels, with_channels

    files = folder.split(split)
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter lock
        images = list(threads.map(lambda file: _square(file, folder.size), files))
    channels: Channels = 3 if any(image.shape[1] == 3 for image in images) else 1
    classes = sorted({folder.label(file) for file in folder.files})
    labels = torch.tensor([classes.index(folder.label(file)) for file in files])
    return torch.cat([with_channels(image, channels) for image in images]), labels, tuple(classes)


def _square(file: Path, size: int) -> Tensor:
    """Read the central square of an image file at `size` pixels: uint8, shape (1, C, size, size)."""
    import torch.nn.functional as F

    from dipddpm.core.images import load_image, to_bytes

    image = load_image(file)
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[..., top : top + side, left : left + side]
    return to_bytes(F.interpolate(square, (size, size), mode="bicubic", antialias=True))
