"""Published data sets: locating them on this machine, downloading, verifying by digest, and parsing.

A downloaded file is written to disk only once it is complete and verified. No pickle; loads no torch.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
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
from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.io.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEBIAN_FOLDER = Path("/usr/share/datasets")
MINI_FOLDER = Path(__file__).parents[1] / "assets" / MINI
"""The folder of the data set that ships with the program."""
MIRROR = "DIPDDPM_MIRROR"
"""The environment variable with the only address to fetch from, which holds the files as `NAME/FILE`."""
MAX_BYTES = 2**28
"""Largest size in bytes of a file, unpacked; every published file is smaller, so a larger one may be a zip bomb."""
NO_CACHE = Path(os.devnull) / "dipddpm"
"""The cache of a user without a home folder: a path on which no file exists and no file can be created."""
_TIMEOUT = 30.0
_CHUNK = 2**18


def locations(root: Path | str | None = None) -> dict[str, Path | None]:
    """Return the folder of each named data set, or None if it isn't on this machine. The files aren't verified."""
    return {name: locate(dataset, root) for name, dataset in CATALOGUE.items()}


def check(name: str, root: Path | str | None = None) -> None:
    """Raise `UserError`, with the ways to get the data set, if it isn't on this machine. The files aren't verified."""
    if name.startswith(folder.PREFIX):
        folder.parse(name)
    else:
        require(find(name), root)


def require(dataset: NamedDataset, root: Path | str | None = None) -> Path:
    """Return the folder with the data set's files. Raises `UserError`, with the ways to get them, if there is none."""
    if root and not Path(root).is_dir():
        raise UserError(f"There is no data folder {root}.", "Give an existing folder, or leave the option out.")
    path = locate(dataset, root)
    if path is None:
        raise UserError(f"The data set {dataset.name} is not on this machine.", dataset.remedy)
    return path


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
        raise UserError(f"{folder} cannot be written: {error.strerror}.", "Choose another --data-dir.") from None
    return folder


def _candidate_folders(dataset: NamedDataset, root: Path | str | None) -> Iterator[Path]:
    """Yield the folders that may hold a data set, in order of precedence."""
    if dataset.name == MINI:
        yield MINI_FOLDER
        return
    for base in (Path(root), cache_folder()) if root else (cache_folder(),):
        yield base / dataset.name
        yield base / dataset.torchvision / "raw"  # the layout of torchvision's folder
        # The MNIST-like data sets share their file names, so the digest of the smallest file decides.
        if len(dataset.files) == 1 or is_published(dataset, base, dataset.files[-1]):
            yield base
    if dataset.debian:
        yield DEBIAN_FOLDER / dataset.debian.removeprefix("dataset-")


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
            unpack(packed, file)
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


class NotPublishedError(Exception):
    """The bytes are not the published file; the message says how they differ."""


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
        return unpack(path.read_bytes(), file)
    except NotPublishedError as error:
        raise UserError(f"{path} is not the published file of {dataset.name}: {error}.", dataset.remedy) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", dataset.remedy) from None


def is_published(dataset: NamedDataset, folder: Path, file: SourceFile) -> bool:
    """Return whether a folder holds the published file."""
    try:
        contents(dataset, folder, file)
    except UserError:
        return False
    return True


def unpack(data: bytes, file: SourceFile) -> bytes:
    """Return the contents of a published file; the gzip of an IDX file is decompressed.

    Raises `NotPublishedError` if the digest differs or the gzip is damaged.
    """
    unpacked = data
    if file.name.endswith("ubyte.gz") and data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(BytesIO(data)) as stream:
                unpacked = stream.read(MAX_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise NotPublishedError("it is damaged or cut short") from None
    if hashlib.sha256(data if file.packed else unpacked).hexdigest() != file.sha256:
        raise NotPublishedError("its contents differ")
    return unpacked


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
