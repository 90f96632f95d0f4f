"""Checks of given pictures, their truth and their mask, before a run is created. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.core.config import ImagesConfig, Task
from dipddpm.core.config.tasks import Inpaint, Superres
from dipddpm.core.data.given import has_holes, read_files
from dipddpm.core.errors import UserError
from dipddpm.core.io import home, masks
from dipddpm.core.io.given import GivenPicture

GIVE_MASK = "Give --mask FILE: an image as large as the picture, black where pixels are missing, white elsewhere."
MAX_ENLARGED = 1 << 25
"""Largest number of pixels of the result of super-resolution."""


def refuse(images: ImagesConfig, task: Task) -> None:
    """Raise UserError for given pictures that can't be read or restored, and for a mask or a truth that doesn't fit."""
    if "" in images.given:
        raise UserError("A name among images.given is empty.", "Leave it out, or name an image file.")
    for pictures, _ in read_files(images, task.factor if isinstance(task, Superres) else 1):
        _refuse_small(pictures[0])
        _refuse_large(pictures[0], task)
        if isinstance(task, Inpaint):
            _refuse_mask(pictures, task)


def _refuse_small(picture: GivenPicture) -> None:
    for side, word in zip(picture.pixels.shape, ("high", "wide"), strict=False):
        if side < 2:
            problem = f"{picture.path} is {side} pixel {word}, and the methods need at least 2 pixels a side."
            raise UserError(problem, "Leave it out, or enlarge it.")


def _refuse_large(picture: GivenPicture, task: Task) -> None:
    height, width = picture.pixels.shape[:2]
    if isinstance(task, Superres) and height * width * task.factor**2 > MAX_ENLARGED:
        enlarged = f"{width * task.factor:,}x{height * task.factor:,}"
        problem = f"{picture.path} has {width:,}x{height:,} pixels, so the result would have {enlarged}."
        remedy = f"That is more than the limit of {MAX_ENLARGED // 1_000_000} million pixels: crop the picture first."
        raise UserError(problem, remedy)


def _refuse_mask(pictures: Sequence[GivenPicture], task: Inpaint) -> None:
    first = pictures[0]
    if task.mask:
        masks.read_mask(home.expand(task.mask), (first.pixels.shape[0], first.pixels.shape[1]))
    elif not task.box:
        if any(map(has_holes, pictures)):
            problem = f"{first.path} has transparent pixels, and nothing says whether they are the missing ones."
            raise UserError(problem, f"If they are, give the picture as its own mask: --mask {first.path}.")
        raise UserError(f"It isn't known which pixels of {first.path} are missing.", GIVE_MASK)
