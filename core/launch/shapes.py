"""Checks, before a run is created, that its data set, network and prior take images of one shape. Loads no torch."""

from __future__ import annotations

from dipddpm.core.config import AnyRun, DataConfig, DdpmRun, HybridRun, ImagesConfig, RestoreRun, Task
from dipddpm.core.config.shapes import (
    TUTORIAL,
    refuse_for_evaluation,
    refuse_for_tutorial,
    refuse_other_shape,
    shape_text,
)
from dipddpm.core.config.tasks import Superres
from dipddpm.core.data import folder
from dipddpm.core.data.catalogue import find
from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.runs import trained


def refuse(config: AnyRun) -> None:
    """Raise UserError for a data set whose images the run's network, prior or evaluation can't take."""
    if isinstance(config, RestoreRun):
        for run in config.prior.runs:
            _refuse_for_head_to_head(trained.required_shape(run))
    if not isinstance(config, DdpmRun | HybridRun):
        return
    trains = isinstance(config, DdpmRun) or config.trains
    prior = None
    if isinstance(config, HybridRun) and config.hybrid.needs_prior and (config.hybrid.learns or not trains):
        prior = trained.required_shape(config.prior.run, learns=config.hybrid.learns) if config.prior.run else None
    if isinstance(config, HybridRun) and config.prior.second:
        other = trained.required_shape(config.prior.second)
        if prior and other and other != prior:
            problem = f"The second prior takes images of {shape_text(other)}, and the first one of {shape_text(prior)}."
            raise UserError(problem, "Name two priors of one image size.")
    network = config.ddpm.network if trains and prior is None else ""
    evaluates = trains and bool(config.ddpm.evaluate)
    restores_files = isinstance(config, HybridRun) and bool(config.images.files or config.images.given)
    if isinstance(config, HybridRun) and restores_files and config.hybrid.needs_prior and (prior or trains):
        _refuse_files(config.images, config.task, _shape(config.data) if prior is None else prior)
    restores_files = restores_files and not trains
    if restores_files or not (network == "tutorial" or evaluates or prior):
        return
    shape = _shape(config.data)
    grey = "data.grey" if config.data.dataset.startswith(folder.PREFIX) else ""
    if network == "tutorial":
        refuse_for_tutorial(shape, grey)
    if prior is not None:
        refuse_other_shape(shape, prior, grey_option=grey)
    if evaluates:
        refuse_for_evaluation(shape)


def _refuse_files(images: ImagesConfig, task: Task, prior: tuple[int, ...]) -> None:
    """Raise UserError for a file whose restoration doesn't get the prior's shape, as `load_batch` adapts channels."""
    from dipddpm.core.data.given import read_files
    from dipddpm.core.io import pictures

    factor = task.factor if isinstance(task, Superres) else 1
    for (first, *_), _truth in read_files(images, factor):
        height, width, channels = first.pixels.shape
        shape = max(channels, prior[0]), height * factor, width * factor
        refuse_other_shape(shape, prior, files=True, grey_option="images.grey")

    for name in images.files:
        picture = pictures.inspect(home.expand(name), images.white)
        channels = 1 if images.grey or picture.grey else 3
        refuse_other_shape((max(channels, prior[0]), *picture.shape[1:]), prior, files=True, grey_option="images.grey")


def _refuse_for_head_to_head(prior: tuple[int, int, int] | None) -> None:
    if prior is not None and prior != TUTORIAL:
        sizes = shape_text(prior), shape_text(TUTORIAL)
        problem = f"The prior is trained on {sizes[0]} images, and a head-to-head restores {sizes[1]} ones."
        remedy = "Name a prior of such images; for images of your own use dipddpm run hybrid --from RUN --dataset NAME."
        raise UserError(problem, remedy)


def _shape(data: DataConfig) -> tuple[int, int, int]:
    """Return the shape of a data set's images: (channels, height, width)."""
    if not data.dataset.startswith(folder.PREFIX):
        return find(data.dataset).shape
    images = folder.parse(data.dataset, grey=data.grey)
    return images.channels, images.size, images.size
