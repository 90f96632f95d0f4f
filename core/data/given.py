"""Given pictures: damaged files of people's own, and the files of their truth if it is known.

Without `load_given`, this loads no torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dipddpm.core.config import ImagesConfig
from dipddpm.core.data.names import unique_names
from dipddpm.core.data.scan import SUFFIXES, is_hidden
from dipddpm.core.errors import UserError
from dipddpm.core.events import DataLoaded, Message
from dipddpm.core.io import atomic, digest, home
from dipddpm.core.io.given import GivenPicture, read_given

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIXES = SUFFIXES | {".npy"}
_NUMBERS = re.compile(r"(\d+)")


@dataclass(frozen=True, eq=False)
class GivenImages:
    """Damaged pictures as tensors, in the order of the files, and the pages of a file in theirs."""

    images: list[Tensor]
    """(C, H, W), in the colours of their files; in [0, 1] unless an array has values beyond."""
    names: list[str]
    """A unique name for each, safe as part of a file name."""
    truth: list[Tensor]
    """The true images, with as many channels as the given ones; empty if they aren't known."""
    pictures: list[GivenPicture]
    """The pictures as they were read, with the facts for writing restored ones like them."""
    loaded: DataLoaded
    """The event that identifies the given pictures and their truth."""
    messages: list[Message]
    """Messages and warnings about the files."""


def load_given(images: ImagesConfig, factor: int = 1) -> GivenImages:
    """Load damaged pictures, and their truth, which is `factor` times as high and as wide.

    Raises UserError for a file that can't be read, and for truth that doesn't fit the given pictures.
    """
    import torch

    read = list(read_files(images, factor))
    given, truth = ([picture for files in read for picture in files[index]] for index in (0, 1))
    tensors = [torch.from_numpy(_planes(picture)) for picture in given]
    true_tensors = [
        torch.from_numpy(_planes(true)).expand(len(image), -1, -1).contiguous()
        for true, image in zip(truth, tensors, strict=bool(truth))
    ]
    loaded = _loaded(images, (files[0] for files in read), (files[1] for files in read if files[1]))
    return GivenImages(tensors, _names(given), true_tensors, given, loaded, list(_messages([*given, *truth])))


def read_files(images: ImagesConfig, factor: int = 1) -> Iterator[tuple[list[GivenPicture], list[GivenPicture]]]:
    """Yield the pictures of each file, and their truth, which is empty if it isn't known.

    Raises UserError as `load_given` does.
    """
    if images.truth and len(images.truth) != len(images.given):
        problem = f"There are {len(images.given)} given file(s), and {len(images.truth)} with their truth."
        raise UserError(problem, "Name one --truth for each given file, in the same order.")
    for index, name in enumerate(images.given):
        given, truth = _read(name, images), []
        if images.truth:
            truth = _read(images.truth[index], images)
            _refuse_other(given, truth, factor)
        yield given, truth


def given_loaded(images: ImagesConfig) -> DataLoaded:
    """Return the event that identifies given pictures and their truth by their pixels; the files are read."""
    given, truth = ((_read(name, images) for name in names) for names in (images.given, images.truth))
    return _loaded(images, given, truth)


def _read(name: str, images: ImagesConfig) -> list[GivenPicture]:
    return read_given(home.expand(name), white=images.white, grey=images.grey)


def _loaded(
    images: ImagesConfig, given: Iterable[Sequence[GivenPicture]], truth: Iterable[Sequence[GivenPicture]]
) -> DataLoaded:
    counts: list[int] = []

    def arrays() -> Iterator[NDArray[np.float32]]:
        for pictures in itertools.chain(given, truth):
            pages = [_planes(picture) for picture in pictures]
            counts.append(len(pages))
            yield np.stack(pages) if len(pages) > 1 else pages[0]

    names = [*images.given, *images.truth]
    sha256, hashes = digest.of_arrays(arrays())
    source = ", ".join(Path(name).name for name in names)
    files = dict(zip(names, hashes, strict=True))
    count = sum(counts[: len(images.given)])
    return DataLoaded(dataset="files", split="", images=count, sha256=sha256, source=source, files=files)


def has_holes(picture: GivenPicture) -> bool:
    """Return whether some pixels are fully transparent, which may be the missing ones."""
    return picture.alpha is not None and bool((picture.alpha == 0).any())


def expand_given(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths with the picture files of each folder in its place, in natural order (2 before 10).

    Hidden files, files of other kinds and what lies in folders below are left out. Raises UserError for a folder that
    can't be read and for one without pictures.
    """
    return tuple(file for path in paths for file in _expanded(path))


def _expanded(path: str) -> list[str]:
    folder = home.expand(path)
    if not path or not atomic.is_folder(folder):
        return [path]
    try:
        names = [entry.name for entry in folder.iterdir() if not is_hidden(entry.name)]
    except OSError as error:
        raise UserError(f"The folder {path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    pictures = [name for name in names if Path(name).suffix.lower() in _SUFFIXES and not (folder / name).is_dir()]
    if not pictures:
        below = any((folder / name).is_dir() for name in names)
        remedy = "Name a folder in it, or files." if below else "Name a folder with pictures, or files."
        raise UserError(f"There is no picture in the folder {path}.", remedy)
    return [str(Path(path) / name) for name in sorted(pictures, key=_natural)]


def _natural(name: str) -> tuple[list[Any], str]:
    """Return a key that sorts numbers within names by their values."""
    parts = _NUMBERS.split(name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def _names(given: Sequence[GivenPicture]) -> list[str]:
    """Return the names of the pictures; those of a stack have the number of the page, from 1."""
    stems = []
    for picture in given:
        page = f"-page-{picture.page + 1:0{len(str(picture.pages))}}" if picture.pages > 1 else ""
        stems.append(picture.path.stem + page)
    return unique_names(stems)


def _planes(picture: GivenPicture) -> NDArray[np.float32]:
    return np.ascontiguousarray(picture.pixels.transpose(2, 0, 1), np.float32)


def _messages(pictures: Sequence[GivenPicture]) -> Iterator[Message]:
    for picture in pictures:
        yield from (Message(text=text, level="warning") for text in picture.warnings)
        yield from (Message(text=text) for text in picture.notes)


def _refuse_other(given: Sequence[GivenPicture], truth: Sequence[GivenPicture], factor: int) -> None:
    """Raise UserError if the truth of a file has another number of pictures, another size or more channels."""
    ours, theirs = given[0], truth[0]
    if len(given) != len(truth):
        problem = f"{ours.path} holds {len(given)} picture(s) and its truth {theirs.path} {len(truth)}."
        raise UserError(problem, "Give the truth of each picture, in the same order.")
    height, width = (side * factor for side in ours.pixels.shape[:2])
    if tuple(-(-side // factor) for side in theirs.pixels.shape[:2]) != ours.pixels.shape[:2]:
        sizes = [f"{each.pixels.shape[1]}x{each.pixels.shape[0]} pixels" for each in (ours, theirs)]
        enlarged = f", which makes {width}x{height}," if factor > 1 else ""
        problem = f"{ours.path} has {sizes[0]}{enlarged} and its truth {theirs.path} has {sizes[1]}."
        raise UserError(problem, "Give a truth of the size of the restored picture.")
    if theirs.pixels.shape[-1] > ours.pixels.shape[-1]:
        problem = f"{ours.path} is grey, and its truth {theirs.path} has colours."
        raise UserError(problem, "Give a grey truth, or convert both to grey with --set images.grey=true.")
