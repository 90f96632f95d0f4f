"""The catalogue of named data sets: their contents, their published files and the digests that verify these."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dipddpm.core.errors import UserError, suggest
from dipddpm.core.io import atomic
from dipddpm.core.runs.trained import LEAVES

Split = Literal["train", "test"]

MINI = "fashion-mini"
"""The data set that ships with the program."""

Progress = Callable[[str, int, int], None]
"""A callback that gets the name of the file, the bytes received and the total bytes (0: unknown)."""


@dataclass(frozen=True)
class SourceFile:
    """A published file and its digest."""

    name: str
    """The file's published name."""
    sha256: str
    """The digest of the unpacked contents, so that a repacked gzip is valid; of the published file if `packed`."""
    packed: bool = False

    def inside(self, folder: Path) -> Path | None:
        """Return the file's path in a folder, packed or, unless `packed`, unpacked; None if the folder lacks it."""
        names = [self.name] if self.packed else [self.name, self.name.removesuffix(".gz")]
        return next((folder / name for name in names if atomic.is_file(folder / name)), None)


@dataclass(frozen=True)
class NamedDataset:
    """A data set in two splits of equally sized images."""

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    size: str
    """The total size of the published files, as text."""
    torchvision: str
    """The torchvision class that holds the download addresses; empty for the data set that ships with the program."""
    files: tuple[SourceFile, ...]
    """The four IDX files (training images and labels, test images and labels), or the one archive of CIFAR-10."""
    shape: tuple[int, int, int] = (1, 28, 28)
    """Channels, height and width of an image."""
    train: int = 60_000
    """Number of training images."""
    test: int = 10_000
    """Number of test images."""
    debian: str = ""
    """The Debian package of the data set; empty if there is none."""

    @property
    def remedy(self) -> str:
        """A sentence that says how to get the data set if it is missing or damaged."""
        if not self.torchvision:
            return "Reinstall dipddpm, which includes this data set."
        ways = [
            f"run `dipddpm data fetch {self.name}` on a machine with a network and pass its folder with --data-dir",
            f"use {MINI}, which ships with the program",
        ]
        if self.debian:
            ways.insert(0, f"install Debian's package {self.debian}")
        sentence = ", or ".join(ways)
        return sentence[0].upper() + sentence[1:] + "."


_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _idx(*sha256: str, packed: bool = False) -> tuple[SourceFile, ...]:
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return tuple(SourceFile(f"{name}.gz", digest, packed) for name, digest in zip(names, sha256, strict=True))


_DATASETS = (
    NamedDataset(
        name="fashionmnist",
        title="FashionMNIST",
        classes=_CLOTHES,
        licence="MIT, Zalando SE",
        size="30.9 MB",
        torchvision="FashionMNIST",
        debian="dataset-fashion-mnist",
        files=_idx(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    NamedDataset(
        name=MINI,
        title="a class-balanced part of FashionMNIST",
        classes=_CLOTHES,
        train=2_000,
        test=500,
        licence="MIT, Zalando SE",
        size="1.1 MB",
        torchvision="",
        files=_idx(
            "7153e296b627e4d319f8e02d7bc175798e848b71419375695dd61328028eee7a",
            "e026daf3d28b630d395bff264d45247706f43ecba7d4f48422cba6b6a30e22d3",
            "51ba501cf18db79ee0372b43b056197d05e3c86ab2f2a8b871aca4e61f4afb38",
            "2bed0e3790b2dac87cb49ca6718054c88d630c4060f2671b4e1557c9e0ca6621",
        ),
    ),
    NamedDataset(
        name="mnist",
        title="MNIST, handwritten digits",
        classes=_DIGITS,
        licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
        size="11.6 MB",
        torchvision="MNIST",
        files=_idx(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    NamedDataset(
        name="kmnist",
        title="KMNIST, handwritten cursive Japanese",
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        licence="CC BY-SA 4.0, ROIS-DS Center for Open Data in the Humanities",
        size="21.2 MB",
        torchvision="KMNIST",
        # Only the digests of the gzip files are published, not those of their contents.
        files=_idx(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            packed=True,
        ),
    ),
    NamedDataset(
        name="cifar10",
        title="CIFAR-10, colour photographs",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        shape=(3, 32, 32),
        train=50_000,
        licence="none stated; Alex Krizhevsky, University of Toronto",
        size="170.1 MB",
        torchvision="CIFAR10",
        # The binary version; torchvision uses the Python version, whose pickles can run any code.
        files=(
            SourceFile(
                "cifar-10-binary.tar.gz",
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                packed=True,
            ),
        ),
    ),
)

CATALOGUE = {dataset.name: dataset for dataset in _DATASETS}


def find(name: str) -> NamedDataset:
    """Return the data set of this name. Raises `UserError`, with the nearest name, if there is none."""
    if name not in CATALOGUE:
        remedy = suggest(name, [*CATALOGUE, "folder:PATH"])
        if atomic.is_folder(Path(re.sub(r"@\d+$", "", name))):
            remedy = f"For the images of a folder write folder:{name}"
        if name == LEAVES:
            problem = "The pictures of leaves are drawn while scripts/train_leaves_prior.py trains, and never stored."
            raise UserError(problem, f"Train with that script, or on another data set: {', '.join(CATALOGUE)}.")
        raise UserError(f"There is no data set {name!r}.", remedy)
    return CATALOGUE[name]
