"""What can be refused before a run is made: a device, data or image file that is not there. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path

from dipddpm.core import data
from dipddpm.core.compute import devices
from dipddpm.core.config import AnyRun, DipRun, HybridRun, RestoreRun, format_task, parse_task
from dipddpm.core.config.tasks import Inpaint
from dipddpm.core.data.catalogue import NamedDataset
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.runs import reference, trained


def refuse(config: AnyRun, *, fetching: bool = False, elsewhere: bool = False) -> None:
    """Raise UserError for what would fail for certain once the work starts.

    With `fetching`, missing data is on its way; `elsewhere` is a machine that shares files with this one, but not GPUs.
    """
    if not elsewhere:
        devices.candidates(config.device)
    for name in _datasets(config):
        if not fetching:
            data.check(name, config.data.directory or None)
        if name in data.CATALOGUE:
            _refuse_more_than(config, data.CATALOGUE[name])
    if isinstance(config, RestoreRun):
        _refuse_prior(config.prior.run)
        _refuse_networks(config)
    if isinstance(config, HybridRun):
        takes_prior = config.hybrid.learns or (config.hybrid.needs_prior and not config.trains)
        if takes_prior and config.prior.run:
            _refuse_prior(config.prior.run)
    if isinstance(config, DipRun | HybridRun):
        mask = config.task.mask if isinstance(config.task, Inpaint) else ""
        for name in filter(None, (*config.images.files, mask)):
            _refuse_image(Path(name).expanduser())


def missing_data(config: AnyRun) -> str | None:
    """The name of the data set that this run needs, if it is not on this machine but can be fetched."""
    if config.data.directory:
        return None
    locations = data.locations()
    return next((name for name in _datasets(config) if name in locations and locations[name] is None), None)


def _datasets(config: AnyRun) -> list[str]:
    """What is needed of data sets: whatever is trained needs one, what restores image files or drawn images doesn't."""
    if isinstance(config, RestoreRun):
        return [name for name in config.restore.sets if name in data.CATALOGUE]
    if isinstance(config, DipRun) or (isinstance(config, HybridRun) and not config.trains):
        return [] if config.images.files else [config.data.dataset]
    return [config.data.dataset]


def _refuse_more_than(config: AnyRun, known: NamedDataset) -> None:
    """Refuse to take images that a data set of known size doesn't have."""
    if isinstance(config, RestoreRun):
        if config.restore.images > known.test:
            problem = f"{known.name} has {known.test:,} test images, not {config.restore.images:,}."
            raise UserError(problem, "Lower restore.images.")
        return
    if config.data.train_images > known.train:
        problem = f"{known.name} has {known.train:,} images to train on, not {config.data.train_images:,}."
        raise UserError(problem, "Lower data.train_images; 0 takes them all.")
    if not isinstance(config, DipRun | HybridRun) or config.images.files:
        return
    count = known.train if config.images.split == "train" else known.test
    if (last := max(config.images.image_indices())) >= count:
        problem = f"There is no image {last} in the {config.images.split} images of {known.name}."
        raise UserError(problem, f"Choose from 0 to {count - 1}.")


def _refuse_prior(run: str) -> None:
    """A run that isn't there, or has no model of its own."""
    folder = reference.prior_folder(run)
    if not folder.is_dir():
        raise UserError(f"The prior's run is not there: {folder}.", "Name another with --from, or train one: --epochs.")
    trained.trained_config(folder)


def _refuse_networks(config: RestoreRun) -> None:
    """A conditioned network that isn't there, or whose task nobody restores."""
    asked = {format_task(parse_task(text)) for text in config.restore.tasks}
    for run in config.restore.conditioned:
        run_config, _ = trained.conditioned_config(Path(run))
        if (task := format_task(run_config.task)) not in asked:
            raise UserError(f"The network of {Path(run).name} is trained for {task}.", f"Add --task {task}.")


def _refuse_image(path: Path) -> None:
    """Only what is cheap to see; the whole file is decoded by the worker."""
    from PIL import Image, UnidentifiedImageError

    if not atomic.is_file(path):
        raise UserError(f"There is no image file {path}.", "Check the path.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: permission denied.", "Check its permissions.")
    try:
        with atomic.open_regular(path) as file, Image.open(file, formats=atomic.IMAGE_FORMATS) as image:
            image.verify()
    except UnidentifiedImageError:
        raise UserError(f"{path} is no image that can be read.", "Give a PNG or JPEG file.") from None
    except Exception:  # Pillow's decoders raise almost anything on a broken file
        raise UserError(f"{path} is damaged or cut short.", "Copy or save it again.") from None
