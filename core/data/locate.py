"""Published data sets: found on this machine, fetched where missing, verified by their digests, and parsed.

Nothing that is fetched reaches the disk before it is whole and verified. No pickle; loads no torch.
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
from dipddpm.core.io.atomic import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEBIAN_FOLDER = Path("/usr/share/datasets")
MINI_FOLDER = Path(__file__).parents[1] / "assets" / MINI
"""Where the data set lies that ships with the program."""
MIRROR = "DIPDDPM_MIRROR"
"""Environment variable: the only address to fetch from, which holds the files as `NAME/FILE`."""
MAX_BYTES = 2**28
"""More than any published file has, unpacked; what goes on longer is a bomb, or not the published file anyway."""
_TIMEOUT = 30.0
_CHUNK = 2**18


def locations(root: Path | str | None = None) -> dict[str, Path | None]:
    """The folder of each named data set; None for one that isn't here. Files are looked for, not verified."""
    return {name: locate(dataset, root) for name, dataset in CATALOGUE.items()}


def check(name: str, root: Path | str | None = None) -> None:
    """Raise `UserError` for a data set that isn't here, with the ways to get it; its files aren't verified yet."""
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


def fetch(name: str, *, root: Path | str | None = None, progress: Progress | None = None) -> Path:
    """Make a data set be here, whole and verified, and return its folder.

    What is missing or damaged is downloaded into the folder `name` below `root`. Without a `root` a set that already
    is in one of the usual places stays there, else it comes into the cache. Files come from where torchvision has them
    from, or from `DIPDDPM_MIRROR` alone.

    Raises `UserError` for an unknown name, a folder that can't be written, and when no mirror has the published file.
    """
    dataset = find(name)
    if root is None or not dataset.torchvision:
        here = locate(dataset)
        if here is not None and all(is_published(dataset, here, file) for file in dataset.files):
            return here
    mirrors = _mirrors(dataset)
    folder = Path(root or cache_folder()) / dataset.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in dataset.files:
            if not is_published(dataset, folder, file):
                write_atomic(folder / file.name, _published(dataset, file, mirrors, progress))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.", "Choose another --data-dir.") from None
    return folder


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


def _mirrors(dataset: NamedDataset) -> list[str]:
    """The addresses, each ending in a slash, that a data set's files lie below."""
    if not dataset.torchvision:
        raise UserError(f"The data set {dataset.name} is missing or damaged.", dataset.remedy)
    if chosen := os.environ.get(MIRROR):
        return [f"{chosen.rstrip('/')}/{dataset.name}/"]
    from torchvision import datasets

    published = getattr(datasets, dataset.torchvision)
    # CIFAR-10 has one address, that of the pickled version; the binary version lies beside it.
    return list(getattr(published, "mirrors", None) or [published.url.rpartition("/")[0] + "/"])


def _published(dataset: NamedDataset, file: SourceFile, mirrors: list[str], progress: Progress | None) -> bytes:
    """The file as one of the mirrors has it, verified; the complaint is about the last one that was tried."""
    problem = ""
    for mirror in mirrors:
        url = mirror + file.name
        try:
            packed = _download(url, file.name, progress)
            unpack(packed, file)
        except NotPublishedError as error:
            problem = f"What {url} gives is not the published file of {dataset.name}: {error}."
        except (OSError, HTTPException, ValueError) as error:
            problem = f"{file.name} of {dataset.name} cannot be fetched from {url}: {_reason(error)}."
        else:
            return packed
    raise UserError(problem, dataset.remedy)


def _download(url: str, what: str, progress: Progress | None) -> bytes:
    """All bytes at an address. Raises OSError, HTTPException or ValueError where they can't be had, or not whole."""
    received = bytearray()
    with urlopen(Request(url, headers={"User-Agent": "dipddpm"}), timeout=_TIMEOUT) as response:
        expected = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(_CHUNK):
            received += chunk
            if len(received) > MAX_BYTES:
                raise ValueError("it has no end")
            if progress is not None:
                progress(what, len(received), expected)
    if len(received) < expected:  # urllib takes a cut connection for the end
        raise ConnectionError(f"the connection broke after {len(received):,} of {expected:,} bytes")
    return bytes(received)


def _reason(error: Exception) -> str:
    """What went wrong, without the server's own words."""
    if isinstance(error, HTTPError):
        return f"the server answers {error.code}"
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


class NotPublishedError(Exception):
    """These bytes are not the published file, and why one can tell."""


def read(dataset: NamedDataset, folder: Path, split: Split) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images (N, C, H, W) and labels (N,) of a split; every file that they come from is verified by its digest."""
    if len(dataset.files) == 1:
        return _parse_cifar(contents(dataset, folder, dataset.files[0]), split, dataset.shape)
    images, labels = dataset.files[:2] if split == "train" else dataset.files[2:]
    return (
        _parse_idx(contents(dataset, folder, images)).reshape(-1, *dataset.shape),
        _parse_idx(contents(dataset, folder, labels)),
    )


def contents(dataset: NamedDataset, folder: Path, file: SourceFile) -> bytes:
    """The contents of a published file that lies in a folder; raises `UserError`, with its name, if it is another."""
    path = file.inside(folder) or folder / file.name
    try:
        return unpack(path.read_bytes(), file)
    except NotPublishedError as error:
        raise UserError(f"{path} is not the published file of {dataset.name}: {error}.", dataset.remedy) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", dataset.remedy) from None


def is_published(dataset: NamedDataset, folder: Path, file: SourceFile) -> bool:
    """Whether a folder holds the published file."""
    try:
        contents(dataset, folder, file)
    except UserError:
        return False
    return True


def unpack(data: bytes, file: SourceFile) -> bytes:
    """The contents of a published file, out of the gzip that IDX comes in; `NotPublishedError` if the digest is off."""
    unpacked = data
    if file.name.endswith("ubyte.gz") and data.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(BytesIO(data)) as stream:
                unpacked = stream.read(MAX_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise NotPublishedError("it is damaged or cut short") from None
    if hashlib.sha256(data if file.packed else unpacked).hexdigest() != file.sha256:
        raise NotPublishedError("its contents are others")
    return unpacked


def _parse_idx(data: bytes) -> NDArray[np.uint8]:
    """The values of an IDX file of bytes, flat: byte 3 counts the axes, the length of each takes 4 more."""
    import numpy as np

    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])


def _parse_cifar(
    archive: bytes, split: Split, shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """CIFAR-10's binary version: records of a label byte, then the red, green and blue bytes. Nothing is extracted."""
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
