"""The events that identify image files, masks and kernels by their pixels. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dipddpm.core.config.tasks import Deblur, TaskOptions
from dipddpm.core.events import DataLoaded, KernelLoaded, MaskLoaded
from dipddpm.core.io import digest, home
from dipddpm.core.io.kernels import read_kernel
from dipddpm.core.io.masks import read_mask


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


def task_files_loaded(*tasks: TaskOptions) -> list[MaskLoaded | KernelLoaded]:
    """Return the event that identifies the mask or the kernel of each task that reads a file.

    Raises UserError as `read_mask` and `read_kernel`.
    """
    return [_task_file_loaded(task) for task in tasks if task.file_path()]


def _task_file_loaded(task: TaskOptions) -> MaskLoaded | KernelLoaded:
    file = task.file_path()
    if isinstance(task, Deblur):
        return KernelLoaded(file=file, sha256=digest.of_arrays([read_kernel(file)])[0])
    return MaskLoaded(file=file, sha256=digest.of_arrays([read_mask(home.expand(file))])[0])
