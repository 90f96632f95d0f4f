"""Data sets in memory: a uint8 tensor of images, a tensor of labels, and the folder that they were read from."""

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
"""The number of training images that a full data set holds out for model selection."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, on one device. The tensors are never changed in place."""

    name: str
    """The name by which the set was loaded, such as `fashionmnist` or `folder:photos`."""
    split: str
    """`train`, `test`, or the parts of `train` that `hold_out` makes: `fit` and `validation`."""
    images: Tensor
    """uint8, shape (N, C, H, W), values 0 to 255."""
    labels: Tensor
    """int64, shape (N,): indices into `classes`."""
    classes: tuple[str, ...]
    source: str
    """The folder that the set was read from."""
    notes: tuple[str, ...] = ()
    """Notes on how the set was read, such as the files left out."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is probably wrong with the set."""

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sha256(self) -> str:
        """The digest of the contents: the bytes of `images`, then of `labels` as little-endian int64."""
        digest = hashlib.sha256(self.images.cpu().contiguous().numpy().data)
        digest.update(self.labels.cpu().contiguous().numpy().astype("<i8", copy=False).data)
        return digest.hexdigest()

    def to(self, device: torch.device | str) -> ImageSet:
        """Return the same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, indices: Sequence[int]) -> ImageSet:
        """Return the images at these indices, in the order given. Raises `UserError` for an index out of range."""
        selected = list(indices)
        for index in selected:
            if not 0 <= index < len(self):
                problem = f"There is no image {index} in the {self.split} images of {self.name}."
                raise UserError(problem, f"Choose indices from 0 to {len(self) - 1}.")
        return replace(self, images=self.images[selected], labels=self.labels[selected])


def load(
    name: str,
    split: Split = "train",
    *,
    root: Path | str | None = None,
    white: float = 0,
    grey: bool = False,
) -> ImageSet:
    """Read a split of a data set into memory and verify it.

    `name` is a key of `CATALOGUE`, or `folder:PATH` (see `core.data.folder`, also for `white` and `grey`, which act on
    folders alone). Files are searched for below `root`, in the cache (`DIPDDPM_DATA`) and in the folder of Debian's
    package. Raises `UserError` for an unknown name, for a data set that isn't on this machine, and for a file whose
    SHA-256 differs from the published file's.
    """
    import torch

    if name.startswith(folder.PREFIX):
        return _load_folder(name, folder.parse(name, white, grey=grey), split)
    dataset = find(name)
    path = locate.require(dataset, root)
    pixels, numbers = locate.read(dataset, path, split)
    images, labels = torch.from_numpy(pixels.copy()), torch.from_numpy(numbers.astype("int64"))
    return ImageSet(name, split, images, labels, dataset.classes, source=str(path))


def load_validation(name: str, white: float = 0, *, grey: bool = False) -> ImageSet | None:
    """Read the validation split of a folder that has one beside its test split; None for any other data set."""
    if not name.startswith(folder.PREFIX):
        return None
    images = folder.parse(name, white, grey=grey)
    return replace(_load_folder(name, images, "val"), split="validation") if images.parts.get("val") else None


def _load_folder(name: str, images: folder.Folder, split: folder.Part) -> ImageSet:
    """Read a split of a folder of images. Raises `UserError` as `folder.read` does."""
    pixels, labels, notes = folder.read(images, split)
    warnings: tuple[str, ...] = ()
    if split == "train":  # images that were trained on show nothing when they are tested on
        for other in ("test", "val"):
            files = images.parts.get(other, [])
            if copies := folder.count_copies(files, images.parts["train"]):
                warnings += (f"{copies:,} of the {len(files):,} {other} images of {name} are training images too.",)
    source = str(images.path.resolve())
    return ImageSet(name, split, pixels, labels, images.classes, source, notes, warnings)


def hold_out(train: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Split training images into images to fit on and images for model selection.

    The last 5,000 images are held out for selection, or the last tenth, at least one image, of sets below 50,000. Both
    sets share the memory of `train`. Of a folder, whose images are sorted by class, as many are held out at equal
    distances, so that all classes are among them. Raises `UserError` for fewer than two images.
    """
    if len(train) < 2:
        problem = f"{train.name} has too few images to hold any out for model selection."
        raise UserError(problem, "Give at least two images.")
    count, total = max(1, min(MAX_HELD_OUT, len(train) // 10)), len(train)
    fit: slice | list[int] = slice(total - count)
    validation: slice | list[int] = slice(total - count, None)
    if train.name.startswith(folder.PREFIX):
        validation = [(number + 1) * total // count - 1 for number in range(count)]
        fit = sorted({*range(total)} - {*validation})
    held_out = replace(train, images=train.images[validation], labels=train.labels[validation])
    return (
        replace(train, split="fit", images=train.images[fit], labels=train.labels[fit]),
        replace(held_out, split="validation", notes=(), warnings=()),
    )
