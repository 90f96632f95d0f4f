"""A data set in memory: one uint8 tensor of images, one of labels, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.core.data import folder, locate
from dipddpm.core.data.catalogue import Split, find
from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MAX_HELD_OUT = 5_000
"""How many training images models are selected on, of a full data set."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, all on one device. Never changed in place."""

    name: str
    """What was asked for: `fashionmnist`, `folder:photos`."""
    split: str
    """`train`, `test`, or the parts of `train` that `hold_out` makes: `fit` and `validation`."""
    images: Tensor
    """uint8, shape (N, C, H, W), values 0 to 255."""
    labels: Tensor
    """int64, shape (N,): places in `classes`."""
    classes: tuple[str, ...]
    source: str
    """The folder that it was read from."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """Digest of the contents: the bytes of `images`, then of `labels` as little-endian int64."""
        digest = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().contiguous().numpy().astype("<i8", copy=False).data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, indices: Sequence[int]) -> ImageSet:
        """Some of the images, in the order given; raises `UserError` for a place that isn't there."""
        selected = list(indices)
        for index in selected:
            if not 0 <= index < len(self):
                problem = f"There is no image {index} in the {self.split} images of {self.name}."
                raise UserError(problem, f"Choose from 0 to {len(self) - 1}.")
        return replace(self, images=self.images[selected], labels=self.labels[selected])


def load(name: str, split: Split = "train", *, root: Path | str | None = None) -> ImageSet:
    """Read a split of a data set into memory, verified.

    `name` is one of `CATALOGUE`, or `folder:PATH` (see `core.data.folder`). Files are looked for below `root`, in the
    cache (`DIPDDPM_DATA`) and where Debian puts them. Raises `UserError` for an unknown name, a data set that is not
    here (with the ways to get it), and a file that is not the published one by its SHA-256 (with its name).
    """
    import torch

    if name.startswith(folder.PREFIX):
        image_folder = folder.parse(name)
        images, labels, classes = folder.read(image_folder, split)
        return ImageSet(name, split, images, labels, classes, source=str(image_folder.path.resolve()))
    dataset = find(name)
    path = locate.require(dataset, root)
    pixels, numbers = locate.read(dataset, path, split)
    images, labels = torch.from_numpy(pixels.copy()), torch.from_numpy(numbers.astype("int64"))
    return ImageSet(name, split, images, labels, dataset.classes, source=str(path))


def hold_out(train: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Split training images into those to fit on and those to select models on.

    The last 5,000 are for selection, as everywhere in the project; of sets below 50,000 the last tenth, one image at
    least. Both share the memory of `train`. Raises `UserError` for a single image, which can't be both.
    """
    if len(train) < 2:
        raise UserError(f"{train.name} has too few images to select a model on.", "Give at least two.")
    cut = len(train) - max(1, min(MAX_HELD_OUT, len(train) // 10))
    return (
        replace(train, split="fit", images=train.images[:cut], labels=train.labels[:cut]),
        replace(train, split="validation", images=train.images[cut:], labels=train.labels[cut:]),
    )
