"""The images of a run: those that it restores, and those that it trains on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from dipddpm.core.config import DataConfig, ImagesConfig
from dipddpm.core.data.imageset import ImageSet, hold_out, load
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded
from dipddpm.core.images import load_image, to_unit


def load_images(images: ImagesConfig, source: DataConfig) -> tuple[list[Tensor], list[str], DataLoaded]:
    """Load the images (C, H, W) in [0, 1] that a run restores, a label for each, and the event that says which.

    A label is the image's index in its split, or among the files. Raises UserError for what isn't there.
    """
    if images.files:
        tensors = [load_image(Path(name).expanduser())[0] for name in images.files]
        digest = hashlib.sha256()
        for image in tensors:
            digest.update(str(tuple(image.shape)).encode() + image.numpy().tobytes())
        names = ", ".join(Path(name).name for name in images.files)
        loaded = DataLoaded(dataset="files", split="", images=len(tensors), sha256=digest.hexdigest(), source=names)
        return tensors, [f"file {i}" for i in range(len(tensors))], loaded
    indices = images.image_indices()
    chosen = load(source.dataset, images.split, root=source.root).take(indices)
    return list(to_unit(chosen.images)), [f"{chosen.split} {index}" for index in indices], data_loaded(chosen)


def load_batch(images: ImagesConfig, source: DataConfig) -> tuple[Tensor, list[str], DataLoaded]:
    """Load the images as one tensor (N, C, H, W); else as `load_images`. Raises UserError for several sizes, too."""
    tensors, labels, loaded = load_images(images, source)
    if len({image.shape for image in tensors}) > 1:
        raise UserError("The images differ in size; a hybrid restores them as one batch.", "Give one size at once.")
    return torch.stack(tensors), labels, loaded


def load_training(options: DataConfig, *, held_out: bool) -> tuple[ImageSet, ImageSet | None]:
    """Load the images to train on and, with `held_out`, those to select the best model on, on the CPU.

    What is held out comes from the end of the whole training split, whatever `train_images` says of the rest.
    Raises UserError for a data set that isn't here and for one with too few images.
    """
    train, validation = load(options.dataset, "train", root=options.root), None
    if held_out:
        train, validation = hold_out(train)
    if options.train_images > len(train):
        problem = f"{train.name} has {len(train)} images to train on, not {options.train_images}."
        raise UserError(problem, "Lower data.train_images; 0 takes them all.")
    if options.train_images:
        train = train.take(range(options.train_images))
    return train, validation


def data_loaded(images: ImageSet) -> DataLoaded:
    """Build the event that says which images a run uses."""
    return DataLoaded(
        dataset=images.name, split=images.split, images=len(images), sha256=images.sha256, source=images.source
    )
