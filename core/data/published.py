"""Compare files with the published ones, and describe how they differ. Loads no torch."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import lru_cache
from io import BytesIO
from math import prod
from pathlib import Path

from dipddpm.core.data.catalogue import CATALOGUE, NamedDataset, SourceFile
from dipddpm.core.io import atomic

MAX_BYTES = 2**28
"""Largest size in bytes of a file, unpacked; every published file is smaller, so a larger one may be a zip bomb."""
_GZIP = b"\x1f\x8b"
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
_BYTES = b"\0\0\x08"
"""The beginning of an IDX file of bytes."""


class NotPublishedError(Exception):
    """The bytes are not the published file; the message says how they differ."""


def unpack(data: bytes, file: SourceFile, dataset: NamedDataset) -> bytes:
    """Return the contents of a published file; the gzip of an IDX file is decompressed.

    Raises `NotPublishedError` if the digest differs or the gzip is damaged.
    """
    unpacked = data
    if file.name.endswith("ubyte.gz") and data.startswith(_GZIP):
        try:
            with gzip.open(BytesIO(data)) as stream:
                unpacked = stream.read(MAX_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise NotPublishedError("it is damaged or cut short") from None
    digest = hashlib.sha256(data if file.packed else unpacked).hexdigest()
    if digest != file.sha256:
        raise NotPublishedError(_difference(unpacked, digest, file, dataset))
    return unpacked


def difference(path: Path, file: SourceFile, dataset: NamedDataset) -> str:
    """Return how a file differs from the published one; empty if it doesn't.

    The answer is remembered as long as the file's time and size don't change.
    """
    try:
        status = path.stat()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return _difference_of_file(path, file, dataset, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _difference_of_file(path: Path, file: SourceFile, dataset: NamedDataset, _time: int, _size: int) -> str:
    try:
        unpack(atomic.read(path, MAX_BYTES), file, dataset)
    except NotPublishedError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return ""


def _difference(unpacked: bytes, digest: str, file: SourceFile, dataset: NamedDataset) -> str:
    """Return how contents differ from those of the published file, which they aren't."""
    if not unpacked:
        return "it is empty"
    if unpacked[:256].lstrip().lower().startswith(_WEB_PAGE):
        return "it is a web page"
    for known in (dataset, *CATALOGUE.values()):
        if other := next((other for other in known.files if other.sha256 == digest), None):
            return f"it holds {other.name.removesuffix('.gz')} of {known.name}"
    expected = _size(file, dataset)
    if expected and len(unpacked) != expected:
        return f"its size differs: {len(unpacked):,} bytes, not {expected:,}"
    if expected and not unpacked.startswith(_BYTES):
        return "it is no IDX file of bytes"
    return "its contents differ"


def _size(file: SourceFile, dataset: NamedDataset) -> int:
    """Return the size in bytes of a published IDX file, unpacked; 0 for another file.

    An IDX file has 4 bytes, then 4 bytes for the length of each axis, and then its values.
    """
    if not file.name.endswith("ubyte.gz"):
        return 0
    count = dataset.train if file in dataset.files[:2] else dataset.test
    return 16 + count * prod(dataset.shape) if "images" in file.name else 8 + count
