"""Names of the images that a run restores, for the files in which people look for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from dipddpm.core.config import ImagesConfig

MAX_BYTES = 100
"""The longest name in UTF-8; file systems allow 255 bytes for a name with its ending."""
RESULT_ENDINGS = (".png", ".tif", ".tiff", ".npy")
"""The endings of the files in which restored pictures are stored."""


def image_names(images: ImagesConfig) -> list[str]:
    """Return a unique name for each image, safe as part of a file name on any system.

    A file gives its name without the ending; a number tells files of the same name apart, in the order in which they
    were given. An image of a data set is named by its split and index.
    """
    if files := images.given or images.files:
        return unique_names(PurePath(file).stem for file in files)
    return [f"{images.split}-{index}" for index in images.image_indices()]


def unique_names(stems: Iterable[str]) -> list[str]:
    """Return a safe name for each of these, with a number where another one has it already."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in map(_safe, stems):
        name, number = stem, 1
        # Some file systems don't distinguish upper from lower case.
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def result_paths(given: Sequence[str], endings: Sequence[str], out: str) -> list[Path]:
    """Return where the copies of the results of given files go, in their order; empty if `out` is.

    `endings` are those of the results, such as `.png`. With the ending of a picture, `out` is the file for the only
    result; otherwise it is a folder, which may not exist yet, and holds a file such as `photo-restored.png` for each.
    """
    if not out:
        return []
    if len(given) == 1 and Path(out).suffix.lower() in RESULT_ENDINGS:
        return [Path(out)]
    names = unique_names(PurePath(file).stem for file in given)
    return [Path(out) / f"{name}-restored{ending}" for name, ending in zip(names, endings, strict=True)]


def _safe(stem: str) -> str:
    """Keep letters, digits, dots, dashes and underscores of any script; replace each run of others by an underscore."""
    kept = (c if unicodedata.category(c)[0] in "LMN" or c in ".-_" else " " for c in unicodedata.normalize("NFC", stem))
    name = "_".join("".join(kept).split())
    return name.encode()[:MAX_BYTES].decode(errors="ignore").strip("._-") or "image"
