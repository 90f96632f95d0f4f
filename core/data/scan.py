"""Listing the image files below a folder: what is an image by its name, what is hidden, and which links are followed.

The order of the files depends on their names alone, so that it is the same on each machine. Loads no torch.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".gif", ".webp", ".ppm", ".pgm",
    ".pbm", ".pnm",
})  # fmt: skip
"""Suffixes of the files that are read as images, in lower case."""
_DOCUMENTS = frozenset({
    ".txt", ".md", ".rst", ".html", ".htm", ".pdf", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml",
    ".ini", ".cfg", ".log", ".py", ".ipynb", ".sh", ".sha256", ".md5", ".db", ".pkl", ".pt", ".pth", ".ckpt",
    ".safetensors", ".xmp", ".aae", ".thm", ".url", ".lnk", ".license",
})  # fmt: skip
"""Suffixes of files that are clearly no images; they aren't named among the files left out."""
_SYSTEM = frozenset({
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "@snapshot", "$recycle.bin", "lost+found", "__pycache__",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "system volume information",
})  # fmt: skip
"""Names, in lower case, that file managers, disks and network drives make without a leading dot."""
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"RIFF")
"""The first bytes of the image files that are read though their names have no suffix."""
_MASKS = re.compile(r"(.*[ _.-])?(masks?|labels?|annotations?|segmentations?|ground[ _-]?truth|gt)", re.IGNORECASE)
"""Names of folders and beginnings of names of files that hold masks or labels of images rather than images."""
_MAX_KINDS = 6

Parts = tuple[str, ...]
"""The path of a file below the folder that was scanned."""


@dataclass(frozen=True)
class Listing:
    """The image files below a folder, and a count of each kind of file that was left out."""

    top: Path
    files: list[Parts] = field(default_factory=list)
    """Sorted by their names, folder by folder."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By kind: a suffix, `hidden`, `broken link` or `repeated link`."""
    subfolders: frozenset[str] = frozenset()
    """The names of the folders directly below `top`, hidden ones and links excluded."""

    @cached_property
    def paths(self) -> list[Path]:
        """The whole paths of the files."""
        return [self.top.joinpath(*parts) for parts in self.files]

    def label(self, parts: Parts, default: str) -> str:
        """Return the name of the subfolder that holds a file, however deep; `default` for a file in no subfolder."""
        return parts[0] if len(parts) > 1 else default


def count_masks(files: Iterable[Parts]) -> int:
    """Return how many files are named like masks or labels, or lie in a folder that is."""
    stems = ((*parts[:-1], parts[-1].rpartition(".")[0] or parts[-1]) for parts in files)
    return sum(any(_MASKS.fullmatch(name) for name in parts) for parts in stems)


def is_hidden(name: str) -> bool:
    """Return whether a name marks a file or a folder that people don't see or didn't make."""
    return name.startswith(".") or name.lower() in _SYSTEM


def subfolders(top: Path) -> list[str]:
    """Return the names of the folders directly below a folder, links to folders included, sorted."""
    names = [entry.name for entry in _entries(str(top)) if not is_hidden(entry.name)]
    return sorted(name for name in names if atomic.is_folder(top / name))


def scan(top: Path, *, follow: bool = True) -> Listing:
    """List the image files below a folder; with `follow`, also those behind links, each file and folder once.

    What has no link in its path comes before what has one, and names decide among links, so that the same file is
    found under the same name each time. Raises `UserError` for a folder that can't be read, and for a name that isn't
    UTF-8.
    """
    walk = _Walk()
    real = os.path.realpath(top)
    walk.folders.add(real)
    walk.read(str(top), real, ())
    while follow and walk.links:
        walk.links.sort()
        links, walk.links = walk.links, []
        for parts, path in links:
            walk.follow(parts, path, real)
    return Listing(top, sorted(walk.files), walk.left_out, frozenset(walk.subfolders))


class _Walk:
    """The state of one scan. Paths are text, which is faster than `Path`."""

    def __init__(self) -> None:
        self.files: list[Parts] = []
        self.left_out: Counter[str] = Counter()
        self.links: list[tuple[Parts, str]] = []
        """The links found and not yet followed."""
        self.folders: set[str] = set()
        """The real paths of all folders read."""
        self.images: set[str] = set()
        """The real paths of all files listed."""
        self.subfolders: set[str] = set()

    def read(self, path: str, real: str, parts: Parts) -> None:
        """List a folder and all below it, and remember its links."""
        waiting = [(path, real, parts)]
        while waiting:
            path, real, parts = waiting.pop()
            for entry in _entries(path):
                name = entry.name
                below = (*parts, name)
                if is_hidden(name):
                    self.left_out["hidden"] += 1
                elif entry.is_symlink():
                    self.links.append((below, entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    target = f"{real}/{name}"
                    self.subfolders |= set() if parts else {name}
                    if target not in self.folders:
                        self.folders.add(target)
                        waiting.append((entry.path, target, below))
                elif entry.is_file(follow_symlinks=False):
                    self.add(below, entry.path, f"{real}/{name}")

    def follow(self, parts: Parts, path: str, top: str) -> None:
        """List what a link points to, unless it is listed already or holds the link itself or the whole folder."""
        link = Path(path)
        target = os.path.realpath(link)
        if atomic.is_folder(link):
            holds_itself = any(_is_below(each, target) for each in (top, os.path.realpath(link.parent)))
            if target in self.folders or holds_itself:
                self.left_out["repeated link"] += 1
            else:
                self.folders.add(target)
                self.read(path, target, parts)
        elif atomic.is_file(link):
            self.add(parts, path, target, linked=True)
        elif not os.access(link, os.F_OK):
            self.left_out["broken link"] += 1

    def add(self, parts: Parts, path: str, real: str, *, linked: bool = False) -> None:
        """List a file if its name, or its first bytes if it has no suffix, say that it is an image."""
        stem, dot, ending = parts[-1].rpartition(".")
        suffix = f".{ending.lower()}" if dot and ending and stem else ""
        if suffix not in SUFFIXES and (suffix or not _has_signature(Path(path))):
            if suffix and suffix not in _DOCUMENTS:
                self.left_out[suffix] += 1
        elif real in self.images:
            self.left_out["repeated link"] += linked
        else:
            self.images.add(real)
            self.files.append(parts)


def _entries(path: str) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder. Raises UserError if it can't be read or a name isn't UTF-8."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in entry.name):
                    name = os.fsencode(entry.name).decode(errors="backslashreplace")
                    raise UserError(f"{path} holds a name that is not UTF-8: {name}.", "Rename it.")
                yield entry
    except OSError as error:
        remedy = "Check its permissions, or give another folder."
        raise UserError(f"The folder {path} cannot be read: {error.strerror}.", remedy) from None


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _has_signature(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_SIGNATURES)
    except OSError:
        return False


def count_text(left_out: Counter[str]) -> str:
    """Return the counts of what was left out as text, such as `3 .heic, 1 broken link, 2 hidden`; empty for nothing."""
    suffixes = sorted((kind for kind in left_out if kind.startswith(".")), key=lambda kind: (-left_out[kind], kind))
    shown = [f"{left_out[kind]:,} {kind}" for kind in suffixes[:_MAX_KINDS]]
    if more := sum(left_out[kind] for kind in suffixes[_MAX_KINDS:]):
        shown.append(f"{more:,} with other endings")
    for kind in sorted(kind for kind in left_out if not kind.startswith(".") and left_out[kind]):
        plural = "s" if kind.endswith("link") and left_out[kind] > 1 else ""
        shown.append(f"{left_out[kind]:,} {kind}{plural}")
    return ", ".join(shown)
