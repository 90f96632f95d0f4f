"""Draw `fashion-mini`, the part of FashionMNIST that ships, into `core/assets/fashion-mini`.

    python -m scripts.make_fashion_mini [FOLDER]

Each class contributes 200 of the official training images, without the last 5,000, which serve for model selection, and
50 of the official test images. The script takes the images whose text `fashion-mini SPLIT INDEX` has the smallest
SHA-256. Image 10 k + c is the k-th of class c, so that every ten images in a row are balanced.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import struct
from pathlib import Path

from torch import Tensor

from dipddpm.core.data.catalogue import CATALOGUE, MINI, Split
from dipddpm.core.data.imageset import ImageSet, hold_out, load
from dipddpm.core.data.locate import MINI_FOLDER


def draw(images: ImageSet, split: Split, count: int) -> ImageSet:
    """Draw `count` images of a split, equally many of each class, the classes taking turns."""
    order = sorted(range(len(images)), key=lambda index: hashlib.sha256(f"{MINI} {split} {index}".encode()).digest())
    labels = images.labels.tolist()
    classes = [[index for index in order if labels[index] == label] for label in range(len(images.classes))]
    return images.take([members[k] for k in range(count // len(classes)) for members in classes])


def as_idx(values: Tensor) -> bytes:
    """Encode a tensor of bytes as a gzipped IDX file; the same tensor always gives the same bytes."""
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


def main() -> None:
    """Write the four files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_fashion_mini")
    parser.add_argument("folder", type=Path, nargs="?", default=MINI_FOLDER, metavar="FOLDER")
    write(parser.parse_args().folder)


if __name__ == "__main__":
    main()
