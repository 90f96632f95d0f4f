"""Where data sets lie on this machine, and what to do about one that doesn't. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from dipddpm.core.data import folder
from dipddpm.core.data.catalogue import CATALOGUE, MINI, Dataset, find
from dipddpm.core.data.formats import NotPublishedError, unpack
from dipddpm.core.errors import UserError

DEBIAN_FOLDER = Path("/usr/share/datasets")


@dataclass(frozen=True)
class DatasetStatus:
    """One line of `dipddpm data`."""

    name: str
    title: str
    present: bool
    where: str
    """The folder that holds it; empty if it isn't here."""
    train: int
    """Number of training images."""
    test: int
    """Number of test images."""
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    size: str
    """Of its files as published."""
    licence: str
    remedy: str
    """How to get it; empty if it is here."""


def status(root: Path | str | None = None) -> list[DatasetStatus]:
    """All named data sets, with where each lies. Files are looked for, not verified."""
    return [_status(dataset, root) for dataset in CATALOGUE.values()]


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
    if root and not Path(root).is_dir():
        raise UserError(f"There is no data folder {root}.", "Give a folder that exists, or leave the option out.")
    path = locate(dataset, root)
    if path is None:
        raise UserError(f"The data set {dataset.name} is not on this machine.", dataset.remedy)
    return path


def locate(dataset: Dataset, root: Path | str | None = None) -> Path | None:
    """The first folder that holds all files of a data set: below `root`, in the cache, or where Debian puts them."""
    return next((path for path in _candidate_folders(dataset, root) if _holds(path, dataset)), None)


def cache_folder() -> Path:
    """Where data is kept: `DIPDDPM_DATA`, else `dipddpm` in `XDG_CACHE_HOME`, else `~/.cache/dipddpm`."""
    if chosen := os.environ.get("DIPDDPM_DATA"):
        return Path(chosen)
    # The XDG specification has relative paths ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "dipddpm"


def mini_folder() -> Path:
    """Where the data set lies that ships with the program."""
    return Path(str(files("dipddpm.core"))) / "assets" / MINI


def _candidate_folders(dataset: Dataset, root: Path | str | None) -> Iterator[Path]:
    """The folders that may hold a data set, in the order in which they count."""
    if dataset.name == MINI:
        yield mini_folder()
        return
    if root:
        yield from _below(Path(root), dataset)
        if _is_of(Path(root), dataset):
            yield Path(root)
    yield from _below(cache_folder(), dataset)
    if dataset.debian:
        yield DEBIAN_FOLDER / dataset.debian.removeprefix("dataset-")


def _below(base: Path, dataset: Dataset) -> Iterator[Path]:
    yield base / dataset.name
    yield base / dataset.torchvision / "raw"  # as torchvision lays its own folder out


def _is_of(folder: Path, dataset: Dataset) -> bool:
    """Whether a folder is this data set's: MNIST and its kin share their file names, so the smallest file is read."""
    smallest = dataset.files[-1]
    path = smallest.inside(folder)
    if path is None or len(dataset.files) == 1:
        return path is not None
    try:
        unpack(path.read_bytes(), smallest)
    except (OSError, NotPublishedError):
        return False
    return True


def _holds(folder: Path, dataset: Dataset) -> bool:
    return all(file.inside(folder) for file in dataset.files)


def _status(dataset: Dataset, root: Path | str | None) -> DatasetStatus:
    path = locate(dataset, root)
    return DatasetStatus(
        name=dataset.name,
        title=dataset.title,
        present=path is not None,
        where=str(path or ""),
        train=dataset.train,
        test=dataset.test,
        shape=dataset.shape,
        size=f"{dataset.megabytes:.1f} MB",
        licence=dataset.licence,
        remedy="" if path else dataset.remedy,
    )
