"""A folder of image files as a data set: `folder:PATH`, or `folder:PATH@64` for images of 64x64 pixels.

Subfolders are classes, as in torchvision's `ImageFolder`; a folder without subfolders is one class. Subfolders named
`train` and `test` are the splits, in any of the spellings in `SPLITS`. `val` is the test split if there is no `test`;
beside one, it holds the images for model selection. Without such subfolders, every tenth file, sorted by name, is a
test image. Each image is cropped to its central square and resized, by default to 28x28 pixels, which the tutorial
network needs. The images stay grey if all files of the folder are; one RGB file makes all of them RGB.

Hidden files and folders are never read, and links are followed (see `core.data.scan`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dipddpm.core.data.scan import SUFFIXES, Listing, count_masks, count_text, scan, subfolders
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic

if TYPE_CHECKING:
    from torch import Tensor

    from dipddpm.core.images import Channels

PREFIX = "folder:"
SIZES = range(8, 1025)
Part: TypeAlias = Literal["train", "test", "val"]
SPLITS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
"""The names of subfolders, in lower case, that hold a split."""
MAX_CHECKED = 5_000
"""Number of files of a split that are looked at before a run starts; the run itself reads them all."""
MAX_SUSPECTS = 50
"""Number of files that are decoded before a run starts, because they don't end as they should."""
_HEAD = 4096
"""Number of bytes at the beginning of a file that suffices to distinguish most files of one size."""
_CLOCK_SECONDS = 2.0
"""More than the steps in which file systems count time."""
_MAX_NAMES = 5
"""Number of class names in one note."""


@dataclass(frozen=True)
class Folder:
    """A folder of images that haven't been read yet."""

    path: Path
    size: int = 28
    """The height and width in pixels to which the images are resized."""
    white: float = 0
    """The value of white in files of floats or of more than 8 bits, as `pictures.decode` takes it."""
    grey: bool = False
    """True if files in colour are converted to grey."""

    @cached_property
    def split_folders(self) -> dict[Part, Path]:
        """The subfolders that are splits; empty if the subfolders are classes, or if there are none.

        Subfolders are splits if one is for training and another for testing or validation, or if all of them have the
        name of a split: a class may be called `train`. Raises `UserError` for two subfolders of one split.
        """
        visible = subfolders(self.path)
        named = [(SPLITS[name.lower()], name) for name in visible if name.lower() in SPLITS]
        parts = {part for part, _ in named}
        if not named or not (("train" in parts and len(parts) > 1) or len(named) == len(visible)):
            self._refuse_splits_below(visible)
            return {}
        for part in parts:
            if len(names := [name for each, name in named if each == part]) > 1:
                problem = f"{self.path} has more than one folder of {part} images: {', '.join(names)}."
                raise UserError(problem, "Move the images into one of them, or rename the others.")
        return {part: self.path / name for part, name in named}

    def _refuse_splits_below(self, visible: Sequence[str]) -> None:
        """Raise `UserError` if each subfolder has splits of its own, which would be mixed."""
        for name in visible:
            below = {SPLITS.get(each.lower()) for each in subfolders(self.path / name)}
            if "train" not in below or not below & {"test", "val"}:
                return
        if visible:
            problem = f"{self.path} has no images for training and testing of its own, but {visible[0]} in it has."
            raise UserError(problem, f"Give that folder: {PREFIX}{self.path / visible[0]}")

    @cached_property
    def listings(self) -> dict[Part, Listing]:
        """The image files of each split that has its own folder; without such folders, all files, as `train`."""
        if not self.split_folders:
            return {"train": scan(self.path)}
        return {part: scan(path) for part, path in self.split_folders.items()}

    @cached_property
    def parts(self) -> dict[Part, list[Path]]:
        """The image files of each split: of its own folder, or every tenth one for testing."""
        parts = {part: listing.paths for part, listing in self.listings.items()}
        if "train" in parts and not parts.keys() & {"test", "val"}:
            files = parts["train"]
            parts["test"] = files[9::10]
            parts["train"] = [file for index, file in enumerate(files) if index % 10 != 9]
        elif "test" not in parts and "val" in parts:
            parts["test"] = parts.pop("val")
        return parts

    @cached_property
    def labels(self) -> dict[Path, str]:
        """The class of each file: the name of its subfolder, or of the whole folder if it is in no subfolder."""
        default = self.path.resolve().name
        return {
            path: listing.label(parts, default)
            for listing in self.listings.values()
            for path, parts in zip(listing.paths, listing.files, strict=True)
        }

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of all splits, sorted, so that a class has the same number in each split."""
        return tuple(sorted(set(self.labels.values())))

    @cached_property
    def channels(self) -> Literal[1, 3]:
        """3 if any file is stored in colour and stays so, else 1, from the headers of the files alone."""
        if self.grey:
            return 1
        files = (file for files in self.parts.values() for file in files)
        return 3 if any(stored_channels(file) == 3 for file in files) else 1

    def split(self, split: Part) -> list[Path]:
        """Return the image files of a split. Raises `UserError` if there are none."""
        if files := self.parts.get(split):
            return files
        problem = f"There is no image for the {split} split in {self.path}."
        if own := self.split_folders.get(split):
            raise UserError(problem, f"Add images to {own}, or remove that folder.")
        if self.split_folders:
            names = ", ".join(sorted(path.name for path in self.split_folders.values()))
            raise UserError(problem, f"Beside {names}, add a folder {split} with images.")
        remedy = "Give at least ten images, of which every tenth is a test image, or subfolders train and test."
        raise UserError(problem, remedy)

    def notes(self, split: Part) -> tuple[str, ...]:
        """Return what a reader should know of a split: the files left out, and what isn't as one may expect."""
        own = self.split_folders.get(split) or (split == "test" and self.split_folders.get("val")) or None
        notes = [f"{own.name} is the {split} split"] if own and SPLITS[own.name.lower()] != split else []
        labels = Counter(self.labels[file] for file in self.parts[split])
        if self.split_folders and (missing := [name for name in self.classes if name not in labels]):
            notes.append(f"no {split} image of the class{'es' * (len(missing) > 1)} {_names(missing)}")
        listed = [listing for listing in self.listings.values() if own in {None, listing.top}]
        empty = {name for listing in listed for name in listing.subfolders} - set(self.classes)
        if empty:
            notes.append(f"no image in the subfolder{'s' * (len(empty) > 1)} {_names(sorted(empty))}")
        loose = sum(len(file) == 1 for listing in listed for file in listing.files)
        if loose and len(self.classes) > 1:
            notes.append(f"{loose:,} in no subfolder: class {self.path.resolve().name}")
        files = [file for listing in listed for file in listing.files]
        if 0 < (masks := count_masks(files)) < len(files):
            notes.append(f"{masks:,} named like masks or labels, which count as images here: move them elsewhere")
        left_out = sum((listing.left_out for listing in listed), Counter[str]())
        if own and (outside := self.count_outside()):
            left_out[f"outside {', '.join(path.name for path in self.split_folders.values())}"] = outside
        if text := count_text(left_out):
            notes.append(f"left out: {text}")
        return tuple(notes)

    def count_outside(self) -> int:
        """Return the number of images that lie in no split of a folder that has some."""
        splits = {path.name for path in self.split_folders.values()}
        others = [name for name in subfolders(self.path) if name not in splits]
        loose = sum(file.is_file() and file.suffix.lower() in SUFFIXES for file in self.path.glob("[!.]*"))
        return loose + sum(len(scan(self.path / name, follow=False).files) for name in others)


def parse(name: str, white: float = 0, *, grey: bool = False) -> Folder:
    """Parse `folder:PATH` or `folder:PATH@SIZE`, with SIZE in pixels from 8 to 1024; `Folder` explains the others.

    Raises `UserError` if the folder doesn't exist or holds no image, and for another size.
    """
    text = name.removeprefix(PREFIX)
    sized = None if atomic.is_folder(Path(text)) else re.fullmatch(r"(.+)@(\d+)", text, re.DOTALL)
    path, size = (Path(sized[1]), int(sized[2])) if sized else (Path(text), Folder.size)
    folder = Folder(path, size, white, grey)
    if atomic.is_file(folder.path):
        remedy = f"Give the folder that holds the images after {PREFIX}, or one image with --image."
        raise UserError(f"{folder.path} is a file, not a folder.", remedy)
    try:
        folder.path.stat()
    except PermissionError as error:
        problem = f"The folder {folder.path} can't be read: {error.strerror}."
        raise UserError(problem, "Check its permissions and those of the folders above it.") from None
    except OSError:
        pass  # it doesn't exist
    if not text or not atomic.is_folder(folder.path):
        missing = f"There is no folder {sized[1] if sized else text}." if text else "There is no folder without a name."
        raise UserError(missing, f"Give the path of an existing folder after {PREFIX}")
    if folder.size not in SIZES:
        problem = f"Images of {folder.size}x{folder.size} pixels are too small or too large to train on."
        raise UserError(problem, f"Choose a size from {SIZES[0]} to {SIZES[-1]}.")
    if not any(listing.files for listing in folder.listings.values()):
        left_out = count_text(sum((listing.left_out for listing in folder.listings.values()), Counter[str]()))
        problem = f"There is no image in {folder.path}{f', only {left_out}' if left_out else ''}."
        raise UserError(problem, f"Add image files with one of these suffixes: {', '.join(sorted(SUFFIXES))}.")
    return folder


def may_have_changed(name: str, source: str, since: float) -> bool:
    """Return whether a data set that was read from the folder `source` may have changed since a time in seconds.

    The status of each file and folder has a time that no program can set back. It changes with the contents, the
    name and the permissions, so that True doesn't prove a change. Another machine's clock may differ.

    Raises `UserError` as `parse` does.
    """
    if not name.startswith(PREFIX) or str((folder := parse(name)).path.resolve()) != source:
        return True
    files = [path for listing in folder.listings.values() for path in listing.paths]
    below = [Path(path) for path, _, _ in os.walk(folder.path)]
    paths = {folder.path, *below, *files, *(file.parent for file in files)}
    try:
        return any(_changed_at(path) > since - _CLOCK_SECONDS for path in paths)
    except OSError:
        return True


def _changed_at(path: Path) -> float:
    """Return the time of the last change of a file or folder, or of the link that leads to it."""
    status = path.lstat()
    return max(status.st_ctime, path.stat().st_ctime) if stat.S_ISLNK(status.st_mode) else status.st_ctime


def read(folder: Folder, split: Part) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read the images of a split, uint8 (N, C, size, size), their labels, int64 (N,), and notes on what was read.

    A label is an index into the folder's classes.

    Raises `UserError`, naming the first file, for files that aren't images or can't be read.
    """
    import torch

    from dipddpm.core.images import with_channels

    files = folder.split(split)
    with ThreadPoolExecutor() as threads:  # decoding releases the interpreter lock
        images = list(threads.map(lambda file: _square_or_error(file, folder), files))
    _refuse_errors(
        {file: image for file, image in zip(files, images, strict=True) if isinstance(image, UserError)}, files
    )
    squares = [image[0] for image in images if not isinstance(image, UserError)]
    doubts = [image[1][0] for image in images if not isinstance(image, UserError) and image[1]]
    colour = _first_in_colour(folder, split, dict(zip(files, squares, strict=True)))
    channels: Channels = 1 if colour is None else 3
    notes = folder.notes(split)
    if colour is not None and any(image.shape[1] == 1 for image in squares):
        notes = (f"grey and RGB files together, all read as RGB (the first one in RGB is {colour.name})", *notes)
    if doubts:
        notes = (f"{len(doubts):,} doubtful: {doubts[0].rstrip('.')}", *notes)
    numbers = {name: number for number, name in enumerate(folder.classes)}
    labels = torch.tensor([numbers[folder.labels[file]] for file in files])
    return torch.cat([with_channels(image, channels) for image in squares]), labels, notes


def refuse_damaged(files: Sequence[Path], white: float = 0) -> None:
    """Raise `UserError` for files that can't be read, found by their beginnings and ends. Loads no torch.

    Only `MAX_CHECKED` files are looked at, and only `MAX_SUSPECTS` of them are decoded; `read` finds the others.
    """
    from dipddpm.core.io import ends, pictures

    errors = {}
    suspects = (file for file in files[:MAX_CHECKED] if not ends.seems_whole(file))
    for file in itertools.islice(suspects, MAX_SUSPECTS):
        try:
            pictures.decode(file, white, option="data.white")
        except UserError as error:
            errors[file] = error
    _refuse_errors(errors, files)


def _refuse_errors(errors: Mapping[Path, UserError], files: Sequence[Path]) -> None:
    """Raise `UserError` about the first of the files that can't be read, and name some others."""
    if errors:
        first, *others = errors
        more = f" {len(others):,} more of {len(files):,} files can't be read: " if others else ""
        problem = errors[first].problem + more + _names([str(file) for file in others]) + "." * bool(others)
        raise UserError(problem, errors[first].remedy)


def _first_in_colour(folder: Folder, split: Part, squares: dict[Path, Tensor]) -> Path | None:
    """Return the first RGB file: of the images read, else of the other splits; None if all are grey."""
    here = (file for file, image in squares.items() if image.shape[1] == 3)
    if folder.grey:
        return None
    others = (file for part, files in folder.parts.items() if part != split for file in files)
    return next(here, None) or next((file for file in others if stored_channels(file) == 3), None)


def stored_channels(file: Path) -> Literal[1, 3]:
    """Return how many channels `load_image` gives for a file, from the file's header alone. Loads no torch.

    Raises `UserError` as `load_image` does for a file whose header can't be read.
    """
    from dipddpm.core.io import pictures

    return 1 if pictures.is_grey(file) else 3


def count_copies(files: Iterable[Path], others: Iterable[Path]) -> int:
    """Return how many of `files` have the same bytes as one of `others`; a file that can't be read has no copy.

    Only files of equal size are opened, and only those with an equal beginning are read to their end.
    """
    mine, theirs = list(files), list(others)
    for key in (_size, _head, _digest):
        mine_by_key, theirs_by_key = _by_key(mine, key), _by_key(theirs, key)
        both = mine_by_key.keys() & theirs_by_key.keys()
        mine = [file for each in both for file in mine_by_key[each]]
        theirs = [file for each in both for file in theirs_by_key[each]]
    return len(mine)


def _by_key(files: Iterable[Path], key: Callable[[Path], bytes | int]) -> dict[bytes | int, list[Path]]:
    """Group files by a key, without those that can't be read."""
    groups: dict[bytes | int, list[Path]] = defaultdict(list)
    for file in files:
        with contextlib.suppress(OSError):
            groups[key(file)].append(file)
    return groups


def _size(file: Path) -> int:
    return file.stat().st_size


def _head(file: Path) -> bytes:
    with atomic.open_regular(file) as stream:
        return stream.read(_HEAD)


def _digest(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _names(names: Sequence[str]) -> str:
    """Return some names as a list, cut after the first ones."""
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _square_or_error(file: Path, folder: Folder) -> tuple[Tensor, tuple[str, ...]] | UserError:
    """Read a square as `_square` does, but return the error, so that all errors of a folder can be counted."""
    try:
        return _square(file, folder)
    except UserError as error:
        return error


def _square(file: Path, folder: Folder) -> tuple[Tensor, tuple[str, ...]]:
    """Read the central square of an image file at the folder's size: uint8, (1, C, H, W); and warnings about it."""
    import torch
    import torch.nn.functional as F

    from dipddpm.core.images import to_bytes, with_channels
    from dipddpm.core.io.pictures import decode

    picture = decode(file, folder.white, option="data.white")
    image = torch.from_numpy(picture.over_white()).movedim(-1, 0).unsqueeze(0)
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[..., top : top + side, left : left + side]
    if folder.grey:
        square = with_channels(square, 1)
    resized = F.interpolate(square, (folder.size, folder.size), mode="bicubic", antialias=True)
    return to_bytes(resized), picture.warnings
