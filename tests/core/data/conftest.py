"""Fixtures: a small data set under the name of a published one, and a machine without data sets."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dipddpm.core.data import locate
from dipddpm.core.data.catalogue import CATALOGUE, NamedDataset


def idx(values: NDArray[np.uint8]) -> bytes:
    """Return an IDX file of bytes, built from the format's specification."""
    header = bytes([0, 0, 8, values.ndim]) + b"".join(length.to_bytes(4, "big") for length in values.shape)
    return header + values.tobytes()


@dataclass
class Published:
    """A published data set: the correct contents of all its files."""

    dataset: NamedDataset
    contents: dict[str, bytes]
    train: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    test: tuple[NDArray[np.uint8], NDArray[np.uint8]]

    def write(self, folder: Path, *, packed: bool = True, level: int = 9) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in self.contents.items():
            data = gzip.compress(contents, level) if packed else contents
            (folder / (name if packed else name.removesuffix(".gz"))).write_bytes(data)
        return folder


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove all data sets and network settings, and return the cache folder, which doesn't exist yet."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "DIPDDPM_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    cache = tmp_path / "cache"
    monkeypatch.setenv("DIPDDPM_DATA", str(cache))
    monkeypatch.setattr(locate, "DEBIAN_FOLDER", tmp_path / "debian")
    return cache


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    """Replace `fashionmnist` by 30 training and 20 test images of noise, with matching digests."""
    random = np.random.default_rng(0)

    def split(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count, np.uint8)

    train, test = split(30), split(20)
    real = CATALOGUE["fashionmnist"]
    contents = dict(zip((file.name for file in real.files), map(idx, (*train, *test)), strict=True))
    files = tuple(replace(file, sha256=hashlib.sha256(contents[file.name]).hexdigest()) for file in real.files)
    dataset = replace(real, train=30, test=20, files=files)
    monkeypatch.setitem(CATALOGUE, dataset.name, dataset)
    return Published(dataset, contents, train, test)
