"""Published data sets: locating them on this machine, downloading, verifying by digest, and parsing.

A downloaded file is written to disk only once it is complete and verified. No pickle; loads no torch.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from http.client import HTTPException
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dipddpm.core.data import folder
from dipddpm.core.data.catalogue import CATALOGUE, MINI, NamedDataset, Progress, SourceFile, Split, find
from dipddpm.core.data.published import MAX_BYTES, NotPublishedError, difference, unpack
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, home
from dipddpm.core.io.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEBIAN_FOLDER = Path("/usr/share/datasets")
MINI_FOLDER = Path(__file__).parents[1] / "assets" / MINI
"""The folder of the data set that ships with the program."""
MIRROR = "DIPDDPM_MIRROR"
"""The environment variable with the only address to fetch from, which holds the files as `NAME/FILE`."""
NO_CACHE = Path(os.devnull) / "dipddpm"
"""The cache of a user without a home folder: a path on which no file exists and no file can be created."""
_TIMEOUT = 30.0
_CHUNK = 2**18


def locations(root: Path | str | None = None) -> dict[str, Path | None]:
    """Return the folder of each named data set, or None if it isn't on this machine. The files aren't verified."""
    return {name: locate(dataset, root) for name, dataset in CATALOGUE.items()}


def problems(name: str, root: Path | str | None = None) -> list[str]:
    """Return what is wrong with a named data set that is on this machine, wholly or in part, a sentence for each file.

    The files are verified; the result is empty for a good data set and for one of which there is nothing.
    """
    dataset = find(name)
    path = locate(dataset, root)
    if path is None:
        return _incomplete(dataset, root)
    inside = [(file, file.inside(path)) for file in dataset.files]
    return [
        _damage(each, dataset, reason)
        for file, each in inside
        if each is not None and (reason := difference(each, file, dataset))
    ]


def check(name: str, root: Path | str | None = None) -> None:
    """Raise `UserError`, with the ways to get the data set, if it isn't on this machine or isn't the published one."""
    if name.startswith(folder.PREFIX):
        folder.parse(name)
        return
    path = require(find(name), root)
    if found := problems(name, root):
        more = f" {len(found) - 1} more of its files are damaged." if len(found) > 1 else ""
        raise UserError(found[0] + more, _fetch_again(find(name), path))


def require(dataset: NamedDataset, root: Path | str | None = None) -> Path:
    """Return the folder with the data set's files. Raises `UserError`, with the ways to get them, if there is none."""
    refuse_other_than_folder(root)
    path = locate(dataset, root)
    if path is None:
        raise UserError(*_missing(dataset, root))
    return path


def refuse_other_than_folder(root: Path | str | None) -> None:
    """Raise `UserError` for a data folder that was given and doesn't exist, or is a file."""
    if root and not atomic.is_folder(Path(root)):
        is_file = atomic.is_file(Path(root))
        problem = f"{root} is a file, not a data folder." if is_file else f"There is no data folder {root}."
        raise UserError(problem, "Give an existing folder, or leave the option out.")


def _missing(dataset: NamedDataset, root: Path | str | None) -> tuple[str, str]:
    """Return what is wrong and what to do about a data set that isn't on this machine, or not as a whole."""
    if incomplete := _incomplete(dataset, root):
        return incomplete[0], dataset.remedy
    chosen = os.environ.get("DIPDDPM_DATA")
    for path, origin in ((root and Path(root), ""), (chosen and home.expand(chosen), " (DIPDDPM_DATA)")):
        if path and atomic.is_file(path):
            return f"The data folder {path}{origin} is a file.", "Set it to a folder, or unset it."
        if path and atomic.is_folder(path) and not os.access(path, os.R_OK | os.X_OK):
            return f"The data folder {path}{origin} cannot be read: permission denied.", "Check its permissions."
    return f"The data set {dataset.name} is not on this machine.", dataset.remedy


def _incomplete(dataset: NamedDataset, root: Path | str | None) -> list[str]:
    """Return a sentence about the first folder that holds only some of the files, or damaged ones; empty if none does.

    The data sets like MNIST share their file names, so a folder without a data set's name may hold another one's.
    """
    for path, is_own in _possible_folders(dataset, root):
        present = {file: found for file in dataset.files if (found := file.inside(path))}
        if not present or not (is_own or any(is_published(dataset, path, file) for file in present)):
            continue
        if absent := [file.name for file in dataset.files if file not in present]:
            return [f"The data set {dataset.name} in {path} is incomplete: it lacks {', '.join(absent)}."]
        file = dataset.files[-1]
        if reason := difference(present[file], file, dataset):
            return [_damage(present[file], dataset, reason)]
    return []


def locate(dataset: NamedDataset, root: Path | str | None = None) -> Path | None:
    """Return the first folder with all files of a data set: below `root`, in the cache, or of Debian's package."""
    return next((path for path in _candidate_folders(dataset, root) if _holds(path, dataset)), None)


def cache_folder() -> Path:
    """Return the folder for data sets: `DIPDDPM_DATA`, or `dipddpm` in `XDG_CACHE_HOME`, or `~/.cache/dipddpm`.

    Without any of them, return `NO_CACHE`.
    """
    if chosen := os.environ.get("DIPDDPM_DATA"):
        return home.expand(chosen)
    cache = home.user_folder("XDG_CACHE_HOME", ".cache")
    return cache / "dipddpm" if cache else NO_CACHE


def fetch(name: str, *, root: Path | str | None = None, progress: Progress | None = None) -> Path:
    """Download and verify the missing files of a data set, and return its folder.

    Missing and damaged files are downloaded into the folder `name` below `root`. Without `root`, a complete, undamaged
    data set in one of the default folders is used as it is; otherwise the files go to the cache. They come from
    torchvision's addresses, or from `DIPDDPM_MIRROR` alone if it is set.

    Raises `UserError` for an unknown name, a folder that can't be written, and if no mirror has the published file.
    """
    dataset = find(name)
    if root is None or not dataset.torchvision:
        existing = locate(dataset)
        if existing is not None and all(is_published(dataset, existing, file) for file in dataset.files):
            return existing
    mirrors = _mirrors(dataset)
    base = Path(root or cache_folder())
    if base == NO_CACHE:
        problem = "There is no folder for data sets: HOME is not set and this user has no home folder."
        raise UserError(problem, "Set DIPDDPM_DATA to a folder, or choose one with --data-dir.")
    folder = base / dataset.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in dataset.files:
            if not is_published(dataset, folder, file):
                write_atomic(folder / file.name, _published(dataset, file, mirrors, progress))
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}.", "Choose another --data-dir, or set DIPDDPM_DATA."
        ) from None
    return folder


def _candidate_folders(dataset: NamedDataset, root: Path | str | None) -> Iterator[Path]:
    """Yield the folders that may hold a data set, in order of precedence.

    The MNIST-like data sets share their file names, so the digest of the smallest file decides about a folder that
    isn't the data set's own.
    """
    for path, is_own in _possible_folders(dataset, root):
        if is_own or len(dataset.files) == 1 or is_published(dataset, path, dataset.files[-1]):
            yield path


def _possible_folders(dataset: NamedDataset, root: Path | str | None) -> Iterator[tuple[Path, bool]]:
    """Yield each folder where a data set may be, and whether only this data set can be there."""
    if dataset.name == MINI:
        yield MINI_FOLDER, True
        return
    for base in (Path(root), cache_folder()) if root else (cache_folder(),):
        yield base / dataset.name, True
        yield base / dataset.torchvision / "raw", True  # the layout of torchvision's folder
        yield base, False
    if dataset.debian:
        yield DEBIAN_FOLDER / dataset.debian.removeprefix("dataset-"), True


def _holds(folder: Path, dataset: NamedDataset) -> bool:
    return all(file.inside(folder) for file in dataset.files)


def _mirrors(dataset: NamedDataset) -> list[str]:
    """Return the addresses of the folders with a data set's files, each ending in a slash."""
    if not dataset.torchvision:
        raise UserError(f"The data set {dataset.name} is missing or damaged.", dataset.remedy)
    if chosen := os.environ.get(MIRROR):
        return [f"{chosen.rstrip('/')}/{dataset.name}/"]
    from torchvision import datasets

    published = getattr(datasets, dataset.torchvision)
    # CIFAR-10 has one address, of the pickled version; the binary version is in the same folder.
    return list(getattr(published, "mirrors", None) or [published.url.rpartition("/")[0] + "/"])


def _published(dataset: NamedDataset, file: SourceFile, mirrors: list[str], progress: Progress | None) -> bytes:
    """Download a file from the first mirror that has it, verified. Raises UserError about the last mirror tried."""
    problem = ""
    for mirror in mirrors:
        url = mirror + file.name
        try:
            packed = _download(url, file.name, progress)
            unpack(packed, file, dataset)
        except NotPublishedError as error:
            problem = f"The file at {url} is not the published file of {dataset.name}: {error}."
        except (OSError, HTTPException, ValueError) as error:
            problem = f"{file.name} of {dataset.name} cannot be fetched from {url}: {_reason(error)}."
        else:
            return packed
    raise UserError(problem, dataset.remedy)


def _download(url: str, what: str, progress: Progress | None) -> bytes:
    """Download all bytes at an address. Raises OSError, HTTPException or ValueError if that fails or is incomplete."""
    received = bytearray()
    with urlopen(Request(url, headers={"User-Agent": "dipddpm"}), timeout=_TIMEOUT) as response:
        expected = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(_CHUNK):
            received += chunk
            if len(received) > MAX_BYTES:
                raise ValueError("it is larger than any published file")
            if progress is not None:
                progress(what, len(received), expected)
    if len(received) < expected:  # urllib doesn't report a broken connection
        raise ConnectionError(f"the connection broke after {len(received):,} of {expected:,} bytes")
    return bytes(received)


def _reason(error: Exception) -> str:
    """Return a short description of an error, without the untrusted text of the server."""
    if isinstance(error, HTTPError):
        return f"the server answers {error.code}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def read(dataset: NamedDataset, folder: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the images, uint8 (N, C, H, W), and labels, uint8 (N,), of a split from files verified by their digests.

    Raises `UserError` as `contents` does.
    """
    if len(dataset.files) == 1:
        return _parse_cifar(contents(dataset, folder, dataset.files[0]), split, dataset.shape)
    images, labels = dataset.files[:2] if split == "train" else dataset.files[2:]
    return (
        _parse_idx(contents(dataset, folder, images)).reshape(-1, *dataset.shape),
        _parse_idx(contents(dataset, folder, labels)),
    )


def contents(dataset: NamedDataset, folder: Path, file: SourceFile) -> bytes:
    """Return the contents of a published file in a folder. Raises `UserError` if it is unreadable or another file."""
    path = file.inside(folder) or folder / file.name
    try:
        return unpack(atomic.read(path, MAX_BYTES), file, dataset)
    except NotPublishedError as error:
        raise UserError(_damage(path, dataset, str(error)), _fetch_again(dataset, folder)) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", _fetch_again(dataset, folder)) from None


def is_published(dataset: NamedDataset, folder: Path, file: SourceFile) -> bool:
    """Return whether a folder holds the published file."""
    path = file.inside(folder)
    return path is not None and not difference(path, file, dataset)


def _damage(path: Path, dataset: NamedDataset, reason: str) -> str:
    return f"{path} is not the published file of {dataset.name}: {reason}."


def _fetch_again(dataset: NamedDataset, folder: Path) -> str:
    """Return the remedy for a damaged file in a folder: a fetch that puts the right one in the first place."""
    if not dataset.torchvision or DEBIAN_FOLDER in folder.parents:
        return dataset.remedy
    base = {dataset.name: folder.parent, "raw": folder.parent.parent}.get(folder.name, folder)
    option = "" if base == cache_folder() else f" --data-dir {base}"
    again = f"Fetch it again with `dipddpm data fetch {dataset.name}{option}`"
    return f"{again}, or use {MINI}, which ships with the program."


def _parse_idx(data: bytes) -> NDArray[np.uint8]:
    """Return the flat values of an IDX file of bytes: byte 3 is the number of axes, each axis length takes 4 bytes."""
    import numpy as np

    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])


def _parse_cifar(
    archive: bytes, split: Split, shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Parse CIFAR-10's binary version in memory: records of a label byte, then the red, green and blue bytes."""
    import numpy as np

    batches = {f"data_batch_{number}.bin" for number in range(1, 6)} if split == "train" else {"test_batch.bin"}
    records = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as members:
        for member in members:
            name = Path(member.name).name
            if name in batches and (stream := members.extractfile(member)) is not None:
                records[name] = stream.read()
    table = np.frombuffer(b"".join(records[name] for name in sorted(batches)), np.uint8).reshape(-1, 1 + prod(shape))
    return table[:, 1:].reshape(-1, *shape), table[:, 0]
