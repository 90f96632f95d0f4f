"""The events that identify image files and masks by their pixels. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dipddpm.core.events import DataLoaded
from dipddpm.core.io import digest


def files_loaded(files: Sequence[str], images: Iterable[NDArray[Any]]) -> DataLoaded:
    """Return the event that identifies image files by their images (C, H, W)."""
    sha256, hashes = digest.of_arrays(images)
    return DataLoaded(
        dataset="files",
        split="",
        images=len(files),
        sha256=sha256,
        source=", ".join(Path(name).name for name in files),
        files=dict(zip(files, hashes, strict=True)),
    )
