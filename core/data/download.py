"""Getting published data sets over the network: nothing reaches the disk before it is whole and verified."""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dipddpm.core.data.catalogue import NamedDataset, Progress, SourceFile, find
from dipddpm.core.data.formats import MAX_BYTES, NotPublishedError, is_published, unpack
from dipddpm.core.data.locate import cache_folder, locate
from dipddpm.core.errors import UserError
from dipddpm.core.io.atomic import write_atomic

MIRROR = "DIPDDPM_MIRROR"
"""Environment variable: the only address to fetch from, which holds the files as `NAME/FILE`."""

_TIMEOUT = 30.0
_CHUNK = 2**18


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
