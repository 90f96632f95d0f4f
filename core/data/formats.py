"""Reading published files: unpacked, verified against their digest, and parsed. No pickle, no torch."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from dipddpm.core.data.catalogue import NamedDataset, SourceFile, Split
from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES = 2**28
"""More than any published file has, unpacked; what goes on longer is a bomb, or not the published file anyway."""


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
