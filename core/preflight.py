"""What can be refused before a run is made: a device, data or image file that is not there. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path

from core import data, devices
from core.config import AnyRun, DdpmRun, DipRun
from core.config.tasks import Inpaint
from core.errors import UserError


def refuse(config: AnyRun, *, fetching: bool = False) -> None:
    """Raise UserError for what would fail for certain once the work starts; `fetching`: missing data is on its way."""
    devices.candidates(config.device)
    if _needs_data(config):
        if not fetching:
            data.check(config.data.dataset, config.data.directory or None)
        _refuse_too_many(config)
    if not isinstance(config, DdpmRun):
        mask = config.task.mask if isinstance(config.task, Inpaint) else ""
        for name in filter(None, (*config.images.files, mask)):
            _refuse_image(Path(name).expanduser())


def missing_data(config: AnyRun) -> str | None:
    """The name of the data set that this run needs, if it is not on this machine but can be fetched."""
    name = config.data.dataset
    if name not in data.NAMES or config.data.directory or not _needs_data(config):
        return None
    return None if next(status for status in data.status() if status.name == name).present else name


def _needs_data(config: AnyRun) -> bool:
    """A fit of image files does without; whatever is trained doesn't."""
    return not isinstance(config, DipRun) or not config.images.files


def _refuse_too_many(config: AnyRun) -> None:
    """Images that a data set of known size doesn't have."""
    known = next((status for status in data.status() if status.name == config.data.dataset), None)
    if known is None:
        return
    if config.data.train_images > known.train:
        problem = f"{known.name} has {known.train:,} images to train on, not {config.data.train_images:,}."
        raise UserError(problem, "Lower data.train_images; 0 takes them all.")
    if isinstance(config, DdpmRun) or config.images.files:
        return
    count = known.train if config.images.split == "train" else known.test
    if (last := max(config.images.places())) >= count:
        problem = f"There is no image {last} in the {config.images.split} images of {known.name}."
        raise UserError(problem, f"Choose from 0 to {count - 1}.")


def _refuse_image(path: Path) -> None:
    """Only what is cheap to see; the whole file is decoded by the worker."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise UserError(f"There is no image file {path}.", "Check the path.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: permission denied.", "Check its permissions.")
    try:
        with Image.open(path) as image:
            image.verify()
    except UnidentifiedImageError:
        raise UserError(f"{path} is no image that can be read.", "Give a PNG or JPEG file.") from None
    except Exception:  # Pillow's decoders raise almost anything on a broken file
        raise UserError(f"{path} is damaged or cut short.", "Copy or save it again.") from None
