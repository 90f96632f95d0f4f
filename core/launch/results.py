"""Where the results of `restore-image` go, and checks of its options, before the run is created. Loads no torch."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

from msgspec.structs import replace

from dipddpm.core.config import PICTURE_METHODS, AnyRun, ImageRun, parse_task
from dipddpm.core.config.tasks import Inpaint
from dipddpm.core.data.names import RESULT_ENDINGS, result_paths
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic, home

_AS_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"Pf\n")
"""The beginnings of files whose results are TIFF files: TIFFs, and PFM files, which hold floats."""


def with_files(config: ImageRun) -> ImageRun:
    """Return the config with the pictures of each given folder in its place, and with the file of a single result.

    Raises UserError for a folder without pictures, and for a result of a kind that isn't written.
    """
    from dipddpm.core.data.given import expand_given

    if (out := Path(config.picture.out)).suffix.lower() in {".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm"}:
        problem = f"Results are written as PNG, TIFF or .npy files, not as {out.name}."
        raise UserError(problem, f"Name another file, for example {out.with_suffix('.png').name}.")
    images = replace(config.images, given=expand_given(config.images.given))
    whole = replace(config, images=images)
    only = _paths(whole)[0] if len(images.given) == 1 and config.picture.out else config.picture.out
    return replace(whole, picture=replace(config.picture, out=str(only)))


def refuse_other_mask(task: str | None, mask: str | None) -> None:
    """Raise UserError for a mask beside a task that has none, or that names another mask."""
    parsed = parse_task(task) if task and mask else None
    if isinstance(parsed, Inpaint) and parsed.mask:
        raise UserError("--task and --mask both name a mask.", "Leave out one of the two.")
    if parsed is not None and not isinstance(parsed, Inpaint):
        name = str(task).partition(":")[0].strip()
        problem = f"The task {name} has no missing pixels, and takes no mask."
        raise UserError(problem, "Leave out --mask, or write --task inpaint, with sigma=5 where the rest is noisy.")


def refuse(config: ImageRun) -> None:
    """Raise UserError for a run that is certain to fail: no picture, a missing package, no place for results."""
    given = config.images.given
    if not given:
        raise UserError("There is no picture to restore.", "Give one: dipddpm restore-image FILE.")
    if twice := next((file for index, file in enumerate(given) if file in given[:index]), None):
        raise UserError(f"{twice} is given twice.", "Name each picture once.")
    extra = getattr(PICTURE_METHODS.get(config.picture.method), "extra", "")
    if extra and importlib.util.find_spec(extra) is None:
        problem = f"The method {config.picture.method} needs the package {extra}, which is not installed."
        raise UserError(problem, f"Install it with: pip install 'dipddpm[{extra}]', or choose another method.")
    _refuse_out(config)


def refuse_existing(config: AnyRun, remedy: str = "Name another place with --set picture.out=FILE.") -> None:
    """Raise UserError if a result would replace a file."""
    existing = [path for path in _paths(config) if os.path.lexists(path)] if isinstance(config, ImageRun) else []
    if existing:
        more = f", and so do {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UserError(f"{existing[0]} exists already{more}.", remedy)


def _refuse_out(config: ImageRun) -> None:
    """Raise UserError for results that can't be written, or that would replace what the run reads."""
    out = Path(config.picture.out)
    if not config.picture.out:
        return
    paths = _paths(config)
    is_file = paths == [out]
    if out.suffix.lower() in RESULT_ENDINGS and not is_file:
        problem = f"--out names one file, {out.name}, and there are {len(paths)} pictures."
        raise UserError(problem, "Name a folder.")
    ending = _ending(config.images.given[0])
    if is_file and ending != out.suffix.lower().replace(".tiff", ".tif"):
        problem = f"The result of {Path(config.images.given[0]).name} is a file like it, with the ending {ending}."
        raise UserError(problem, f"Name it so, for example {out.with_suffix(ending).name}.")
    read = {*config.images.given, *config.images.truth, getattr(config.task, "mask", "")}
    for path in paths:
        if str(path) in read:
            raise UserError(f"{path} is a picture that the run reads.", "Name another file with --out.")
        if path.is_dir():
            raise UserError(f"{path} is a folder.", "Name a file, or a folder whose name has no ending.")
    folder = next(each for each in (paths[0].parent, *paths[0].parent.parents) if os.path.lexists(each))
    if not atomic.is_folder(folder):
        raise UserError(f"{folder} is a file, not a folder.", "Name another place with --out.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        problem = f"The result can't be written to {folder}: {error.strerror}."
        raise UserError(problem, "Name another place with --out.") from None


def _paths(config: ImageRun) -> list[Path]:
    return result_paths(config.images.given, [_ending(file) for file in config.images.given], config.picture.out)


def _ending(file: str) -> str:
    """Return the ending of the result of a given file, by how the file begins; `.png` if it can't be read."""
    try:
        with atomic.open_regular(home.expand(file)) as opened:
            start = opened.read(6)
    except OSError:
        return ".png"
    return ".npy" if start == b"\x93NUMPY" else ".tif" if start.startswith(_AS_TIFF) else ".png"
