"""The images of a run: the images to restore, and the images to train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from dipddpm.core.config import DataConfig, ImagesConfig
from dipddpm.core.data.catalogue import Split
from dipddpm.core.data.identity import files_loaded
from dipddpm.core.data.imageset import ImageSet, hold_out, load, load_validation
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded, Item, Message
from dipddpm.core.images import Channels, load_image, to_unit
from dipddpm.core.io import home
from dipddpm.core.io.pictures import inspect


def load_images(images: ImagesConfig, source: DataConfig) -> tuple[list[Tensor], list[str], DataLoaded]:
    """Load the images (C, H, W) in [0, 1] that a run restores, a label for each, and the event that names them.

    A label is the image's index in its split, or among the files. Raises UserError for a missing image or data set.
    """
    if images.files:
        channels: Channels | None = 1 if images.grey else None
        tensors = [load_image(home.expand(name), channels, white=images.white)[0] for name in images.files]
        loaded = files_loaded(images.files, (image.numpy() for image in tensors))
        return tensors, [f"file {i}" for i in range(len(tensors))], loaded
    indices = images.image_indices()
    chosen = load_split(source, images.split).take(indices)
    return list(to_unit(chosen.images)), [f"{chosen.split} {index}" for index in indices], data_loaded(chosen)


def load_batch(
    images: ImagesConfig, source: DataConfig, channels: int | None = None
) -> tuple[Tensor, list[str], DataLoaded]:
    """Load the images as one tensor (N, C, H, W), otherwise like `load_images`.

    Files get the `channels` of the prior where nothing is lost: grey ones become RGB, and grey ones stored as RGB
    become grey. Without a prior, one RGB file makes all of them RGB. Raises UserError if sizes differ.
    """
    tensors, labels, loaded = load_images(images, source)
    return as_batch(tensors, channels) if images.files else torch.stack(tensors), labels, loaded


def as_batch(tensors: Sequence[Tensor], channels: int | None = None) -> Tensor:
    """Stack images from files as `load_batch` does."""
    wanted = channels or max(image.shape[0] for image in tensors)
    tensors = [_adapted(image, wanted) for image in tensors]
    if len({image.shape for image in tensors}) > 1:
        problem = "The images differ in size, and a hybrid restores them as one batch."
        raise UserError(problem, "Choose images of one size, and restore those of another size in another run.")
    return torch.stack(tensors)


def _adapted(image: Tensor, channels: int) -> Tensor:
    """Return an image (C, H, W) with that many channels, or the same image if colours would be lost."""
    if channels == 1:
        return image[:1] if bool((image == image[:1]).all()) else image
    return image.expand(channels, -1, -1)


def file_messages(images: ImagesConfig, channels: int | None = None) -> Iterator[Message]:
    """Yield warnings about image files, and a message if they are restored with fewer channels than they have."""
    inspected = [inspect(home.expand(name), images.white) for name in images.files]
    for picture in inspected:
        yield from (Message(text=text, level="warning") for text in picture.warnings)
    if channels == 1 and not images.grey and any(picture.shape[0] == 3 for picture in inspected):
        yield Message(text="Grey images that are stored as RGB are restored as grey.")


def load_split(options: DataConfig, split: Split) -> ImageSet:
    """Load a split of a run's data set. Raises UserError as `imageset.load` does."""
    return load(options.dataset, split, root=options.root, white=options.white, grey=options.grey)


def load_training(options: DataConfig, *, held_out: bool) -> tuple[ImageSet, ImageSet | None]:
    """Load the images to train on and, with `held_out`, the images for model selection, on the CPU.

    The held-out images are the validation split of a folder that has one beside its test split; else they come from
    the whole training split, whatever the value of `train_images`. Raises UserError for a data set that isn't on this
    machine and for one with too few images.
    """
    train, validation = load_split(options, "train"), None
    if held_out:
        validation = load_validation(options.dataset, options.white, grey=options.grey)
        if validation is None:
            train, validation = hold_out(train)
    if options.train_images > len(train):
        problem = f"{train.name} has {len(train)} images to train on, not {options.train_images}."
        raise UserError(problem, "Lower data.train_images; 0 takes them all.")
    if options.train_images:
        train = train.take(range(options.train_images))
    return train, validation


def data_loaded(images: ImageSet) -> DataLoaded:
    """Return the event that names the images of a run."""
    return DataLoaded(
        dataset=images.name,
        split=images.split,
        images=len(images),
        sha256=images.sha256,
        source=images.source,
        notes=list(images.notes),
    )


def opening_events(sets: Iterable[ImageSet]) -> Iterator[Item]:
    """Yield the events that name the images of a run, each with a warning of what is probably wrong with them."""
    for images in sets:
        yield data_loaded(images)
        for warning in images.warnings:
            yield Message(text=warning, level="warning")
