"""What can be refused before a run is made: a device, data or image file that is not there. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path

from core import data, devices
from core.config import AnyRun, DdpmRun
from core.errors import UserError


def refuse(config: AnyRun) -> None:
    """Raise UserError for what would fail for certain once the work starts."""
    devices.candidates(config.device)
    if isinstance(config, DdpmRun) or not config.images.files or config.kind == "hybrid":
        data.check(config.data.dataset, config.data.directory or None)
    if not isinstance(config, DdpmRun):
        for name in config.images.files:
            _refuse_image(Path(name))


def missing_data(config: AnyRun) -> str | None:
    """The name of the data set that this run needs, if it is not on this machine but can be fetched."""
    name = config.data.dataset
    if name not in data.NAMES or config.data.directory:
        return None
    if not isinstance(config, DdpmRun) and config.images.files and config.kind == "dip":
        return None
    return None if next(status for status in data.status() if status.name == name).present else name


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
