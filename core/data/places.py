"""Where data sets lie on this machine, and what to do about one that doesn't. Reads no file, loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from core.data import folder
from core.data.catalogue import DATASETS, Dataset, SourceFile, find
from core.errors import UserError

DEBIAN_FOLDER = Path("/usr/share/datasets")
MINI = "fashion-mini"


@dataclass(frozen=True)
class DatasetStatus:
    """One line of `dipddpm data`."""

    name: str
    title: str
    present: bool
    where: str
    """The folder that holds it; empty if it isn't here."""
    images: str
    """How many, and of which size."""
    size: str
    """Of its files as published."""
    licence: str
    remedy: str
    """How to get it; empty if it is here."""


def status(root: Path | str | None = None) -> list[DatasetStatus]:
    """All named data sets, with where each lies. Files are looked for, not read."""
    return [_status(dataset, root) for dataset in DATASETS]


def check(name: str, root: Path | str | None = None) -> None:
    """Refuse a data set that isn't here, before any work starts.

    Looks for the files only: that they are the published ones is verified when they are loaded. Raises `UserError`
    for an unknown name, a folder that isn't there, and for a data set that isn't here, with the ways to get it.
    """
    if name.startswith(folder.PREFIX):
        folder.parse(name)
    else:
        require(find(name), root)


def require(dataset: Dataset, root: Path | str | None = None) -> Path:
    """The folder that holds the data set's files; raises `UserError` with the ways to get them if none does."""
    if root is not None and not Path(root).is_dir():
        raise UserError(f"There is no data folder {root}.", "Give a folder that exists, or leave the option out.")
    place = locate(dataset, root)
    if place is None:
        raise UserError(f"The data set {dataset.name} is not on this machine.", remedy(dataset))
    return place


def locate(dataset: Dataset, root: Path | str | None = None) -> Path | None:
    """The first folder that holds all files of a data set: below `root`, in the cache, or where Debian puts them."""
    return next((place for place in _places(dataset, root) if _holds(place, dataset)), None)


def locate_file(folder: Path, file: SourceFile) -> Path | None:
    """Where a published file lies in a folder: under its name, or unpacked if its contents can be told so too."""
    names = [file.name] if file.packed else [file.name, file.name.removesuffix(".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def cache_folder() -> Path:
    """Where data is kept: `DIPDDPM_DATA`, else `dipddpm` in `XDG_CACHE_HOME`, else `~/.cache/dipddpm`."""
    if chosen := os.environ.get("DIPDDPM_DATA"):
        return Path(chosen)
    # The XDG specification has relative paths ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "dipddpm"


def mini_folder() -> Path:
    """Where the data set lies that ships with the program."""
    return Path(str(files("core"))) / "assets" / MINI


def remedy(dataset: Dataset) -> str:
    """The ways to get a data set that is missing or damaged, in one sentence."""
    if dataset.name == MINI:
        return "Install dipddpm again: the data set is a part of it."
    ways = [
        f"run `dipddpm data fetch {dataset.name}` where there is a network and point --data-dir at the folder it makes",
        f"use {MINI}, which ships with the program",
    ]
    if dataset.debian:
        ways.insert(0, f"install Debian's package {dataset.debian}")
    sentence = ", or ".join(ways)
    return sentence[0].upper() + sentence[1:] + "."


def _places(dataset: Dataset, root: Path | str | None) -> Iterator[Path]:
    if dataset.name == MINI:
        yield mini_folder()
        return
    for base in (root, cache_folder()):
        if base is not None:
            yield Path(base) / dataset.name
            yield Path(base) / dataset.torchvision / "raw"  # as torchvision lays its own folder out
            yield Path(base)
    if dataset.debian:
        yield DEBIAN_FOLDER / dataset.debian.removeprefix("dataset-")


def _holds(folder: Path, dataset: Dataset) -> bool:
    return all(locate_file(folder, file) for file in dataset.files)


def _status(dataset: Dataset, root: Path | str | None) -> DatasetStatus:
    place = locate(dataset, root)
    channels, height, width = dataset.shape
    return DatasetStatus(
        name=dataset.name,
        title=dataset.title,
        present=place is not None,
        where=str(place or ""),
        images=f"{dataset.train:,} + {dataset.test:,}, {height}x{width} {'grey' if channels == 1 else 'RGB'}",
        size=f"{dataset.megabytes:.1f} MB",
        licence=dataset.licence,
        remedy="" if place else remedy(dataset),
    )
