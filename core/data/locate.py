"""Where data sets lie on this machine, and what to do about one that doesn't. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core.data import folder
from dipddpm.core.data.catalogue import CATALOGUE, MINI, NamedDataset, find
from dipddpm.core.data.formats import is_published
from dipddpm.core.errors import UserError

DEBIAN_FOLDER = Path("/usr/share/datasets")
MINI_FOLDER = Path(__file__).parents[1] / "assets" / MINI
"""Where the data set lies that ships with the program."""


def locations(root: Path | str | None = None) -> dict[str, Path | None]:
    """The folder of each named data set; None for one that isn't here. Files are looked for, not verified."""
    return {name: locate(dataset, root) for name, dataset in CATALOGUE.items()}


def check(name: str, root: Path | str | None = None) -> None:
    """Refuse a data set that isn't here, before any work starts.

    Looks for the files only: that they are the published ones is verified when they are loaded. Raises `UserError`
    for an unknown name, a folder that isn't there, and for a data set that isn't here, with the ways to get it.
    """
    if name.startswith(folder.PREFIX):
        folder.parse(name)
    else:
        require(find(name), root)


def require(dataset: NamedDataset, root: Path | str | None = None) -> Path:
    """The folder that holds the data set's files; raises `UserError` with the ways to get them if none does."""
    if root and not Path(root).is_dir():
        raise UserError(f"There is no data folder {root}.", "Give a folder that exists, or leave the option out.")
    path = locate(dataset, root)
    if path is None:
        raise UserError(f"The data set {dataset.name} is not on this machine.", dataset.remedy)
    return path


def locate(dataset: NamedDataset, root: Path | str | None = None) -> Path | None:
    """The first folder that holds all files of a data set: below `root`, in the cache, or where Debian puts them."""
    return next((path for path in _candidate_folders(dataset, root) if _holds(path, dataset)), None)


def cache_folder() -> Path:
    """Where data is kept: `DIPDDPM_DATA`, else `dipddpm` in `XDG_CACHE_HOME`, else `~/.cache/dipddpm`."""
    if chosen := os.environ.get("DIPDDPM_DATA"):
        return Path(chosen)
    # The XDG specification has relative paths ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "dipddpm"


def _candidate_folders(dataset: NamedDataset, root: Path | str | None) -> Iterator[Path]:
    """The folders that may hold a data set, in the order in which they count."""
    if dataset.name == MINI:
        yield MINI_FOLDER
        return
    for base in (Path(root), cache_folder()) if root else (cache_folder(),):
        yield base / dataset.name
        yield base / dataset.torchvision / "raw"  # as torchvision lays its own folder out
        # MNIST and its kin share their file names, so the smallest file is read.
        if len(dataset.files) == 1 or is_published(dataset, base, dataset.files[-1]):
            yield base
    if dataset.debian:
        yield DEBIAN_FOLDER / dataset.debian.removeprefix("dataset-")


def _holds(folder: Path, dataset: NamedDataset) -> bool:
    return all(file.inside(folder) for file in dataset.files)
