"""Draw `fashion-mini`, the part of FashionMNIST that ships: `python -m scripts.make_fashion_mini`.

Of every class, in each split, the images come first whose `fashion-mini SPLIT PLACE` has the smallest SHA-256: 200 of
the official training images, without the last 5,000 that models are selected on, and 50 of the official test images.
Image 10 k + c is the k-th of class c, so that every ten images in a row, and every tenth part, are balanced.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

from torch import Tensor

from dipddpm.core.data.catalogue import CATALOGUE, MINI, Split
from dipddpm.core.data.imageset import ImageSet, hold_out, load
from dipddpm.core.data.locate import mini_folder


def draw(images: ImageSet, split: Split, count: int) -> ImageSet:
    """The `count` images of a split, as many of each class as of any other, class after class."""
    order = sorted(range(len(images)), key=lambda index: hashlib.sha256(f"{MINI} {split} {index}".encode()).digest())
    labels = images.labels.tolist()
    classes = [[index for index in order if labels[index] == label] for label in range(len(images.classes))]
    return images.take([members[k] for k in range(count // len(classes)) for members in classes])


def as_idx(values: Tensor) -> bytes:
    """A tensor of bytes as an IDX file, packed; the same bytes in, the same bytes out."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return gzip.compress(header + values.numpy().tobytes(), 9, mtime=0)


def write(folder: Path) -> None:
    """Draw both splits from the published FashionMNIST and write their four files into a folder."""
    mini = CATALOGUE[MINI]
    train = draw(hold_out(load("fashionmnist", "train"))[0], "train", mini.train)
    test = draw(load("fashionmnist", "test"), "test", mini.test)
    parts = [part for drawn in (train, test) for part in (drawn.images.squeeze(1), drawn.labels.byte())]
    for file, values in zip(mini.files, parts, strict=True):
        (folder / file.name).write_bytes(as_idx(values))


if __name__ == "__main__":
    write(mini_folder())
