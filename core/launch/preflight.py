"""Checks before a run is created: its devices, data sets, prior and image files must exist. Loads no torch."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

from dipddpm.core import data
from dipddpm.core.compute import devices
from dipddpm.core.config import (
    PICTURE_METHODS,
    AccelerationRun,
    AnyRun,
    DataConfig,
    DdpmRun,
    DipRun,
    HybridRun,
    ImageRun,
    ImagesConfig,
    MapRun,
    RestoreRun,
    Task,
    degraded_only,
    format_task,
    parse_task,
)
from dipddpm.core.config.tasks import Deblur, Inpaint
from dipddpm.core.data import folder
from dipddpm.core.data.catalogue import Split
from dipddpm.core.errors import UserError
from dipddpm.core.events import Input, PriorLoaded
from dipddpm.core.io import home
from dipddpm.core.launch import inputs, queue, results, shapes
from dipddpm.core.runs import BEST_FILE, Run, reference, slices, trained

_NOISE_REMEDY = "Give the noise a kind and a level, such as denoise:sigma=25."


def refuse(config: AnyRun, *, fetching: bool = False, elsewhere: bool = False) -> None:
    """Raise UserError for a config that is certain to fail.

    `fetching` skips the check for missing data sets, because they are being downloaded; `elsewhere` skips the check of
    the devices, because the run starts on another machine with the same files.
    """
    _refuse_options_without_effect(config)
    if isinstance(config, RestoreRun) and config.restore.earlier:
        _refuse_other_models(config)
    _refuse_inputs(config, fetching=fetching, elsewhere=elsewhere)


def _refuse_options_without_effect(config: AnyRun) -> None:
    """Raise UserError for options of image files or folders where there are none."""
    is_folder = config.data.dataset.startswith(folder.PREFIX)
    if isinstance(config, DipRun | HybridRun) and config.images.truth and not config.images.given:
        problem = "images.truth names the true images of given ones, and this run has no given ones."
        raise UserError(problem, "Name damaged images with --given, or intact ones with --image alone.")
    for name in ("white", "grey"):
        if getattr(config.data, name) and not (is_folder and config.data.dataset in _datasets(config)):
            problem = f"data.{name} acts on the images of a folder as a data set, and this run reads none."
            raise UserError(problem, f"Use images.{name} for files of --image, or leave it out.")
        if isinstance(config, DipRun | HybridRun) and getattr(config.images, name) and not _names_files(config.images):
            problem = f"images.{name} acts on the files of --image, and this run has none."
            remedy = f"Use data.{name} for a folder, or leave it out." if is_folder else "Leave it out."
            raise UserError(problem, remedy)


def _refuse_inputs(config: AnyRun, *, fetching: bool = False, elsewhere: bool = False) -> None:
    """Raise UserError for inputs that are missing, damaged or incompatible; the options are those of `refuse`."""
    if not elsewhere:
        devices.candidates(config.device)
        queue.refuse_settings()
    for name in _datasets(config):
        if not fetching:
            data.check(name, config.data.directory or None)
        _refuse_more_than(config, name)
    if isinstance(config, ImageRun):
        results.refuse(config)
    if isinstance(config, DipRun | HybridRun | ImageRun):
        _refuse_images(config)
    if isinstance(config, ImageRun):
        _refuse_method(config)
    if isinstance(config, RestoreRun):
        _refuse_tasks(config)
        for run in config.prior.runs:
            _refuse_prior(run)
        _refuse_networks(config)
    if isinstance(config, HybridRun):
        degraded_only.refuse(config)
        takes_prior = config.hybrid.learns or (config.hybrid.needs_prior and not config.trains)
        for run in config.prior.runs if takes_prior else ():
            _refuse_prior(run)
    shapes.refuse(config)


def _refuse_other_models(config: RestoreRun) -> None:
    """Raise UserError if images can't be added to the earlier head-to-head, or its masks and models have changed."""
    slices.earlier_results(config)
    earlier = Path(config.restore.earlier)
    try:
        inputs.refuse_changed(earlier, [*_files(config), *_models(config)])
    except UserError as error:
        remedy = f"Put the old files back, or restore all images in a new run: dipddpm fork {earlier.name}"
        raise UserError(error.problem, remedy) from None


def refuse_resume(
    run: Run,
    *,
    elsewhere: bool = False,
    compared: set[inputs.Hashes] | None = None,
    notify: Callable[[str], object] = lambda _: None,
) -> None:
    """Raise UserError for a run that can't go on, because its inputs are missing or have changed since it began.

    `compared` is shared by the checks of several runs, and `notify` is called if the images of a folder take long to
    compare; see `inputs.refuse_changed_folder`.
    """
    config = run.config()
    if not elsewhere:
        devices.candidates(config.device)
        queue.refuse_settings()
    with inputs.explain_missing(run.folder):
        _refuse_inputs(config, elsewhere=True)
    refuse_changed(run, compared, notify)


def refuse_changed(
    run: Run, compared: set[inputs.Hashes] | None = None, notify: Callable[[str], object] = lambda _: None
) -> None:
    """Raise UserError if the images, masks or models of a run differ from those that it began with, or are missing.

    The options are those of `refuse_resume`.
    """
    config = run.config()
    with inputs.explain_missing(run.folder):
        current = list(_files(config))
    inputs.refuse_changed(run.folder, [*current, *_models(config)])
    inputs.refuse_changed_folder(run.folder, compared, notify)


def _files(config: AnyRun) -> Iterator[Input]:
    """Yield the events that identify the image files, masks and kernels of a run, as the run logs them."""
    from dipddpm.core.data.given import given_loaded
    from dipddpm.core.data.identity import files_loaded, task_files_loaded
    from dipddpm.core.io.pictures import decode

    if isinstance(config, DipRun | HybridRun | ImageRun) and config.images.given:
        yield given_loaded(config.images)
    elif isinstance(config, DipRun | HybridRun) and config.images.files and not config.images.grey:
        pictures = (decode(home.expand(name), config.images.white).over_white() for name in config.images.files)
        yield files_loaded(config.images.files, (picture.transpose(2, 0, 1) for picture in pictures))
    tasks: list[Task] = [config.task] if isinstance(config, DipRun | HybridRun | ImageRun) else []
    if isinstance(config, RestoreRun):
        tasks += map(parse_task, config.restore.tasks)
    yield from task_files_loaded(*tasks)


def _models(config: AnyRun) -> Iterator[PriorLoaded]:
    """Yield the events that identify the trained models of a run, in the order in which the run logs them."""
    models: list[tuple[Path, dict[str, str]]] = []
    unneeded = isinstance(config, ImageRun) and not config.needs_prior
    if isinstance(config, HybridRun | RestoreRun | ImageRun) and config.prior.run and not unneeded:
        for run in config.prior.runs:
            folder = reference.prior_folder(run)
            models.append((folder, trained.model_options(trained.trained_config(folder).ddpm)))
    if isinstance(config, RestoreRun):
        models += ((Path(name), {}) for name in config.restore.conditioned)  # the worker checks their options
    for path, options in models:
        with contextlib.suppress(OSError), (path / BEST_FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield PriorLoaded(run=path.name, sha256=digest, options=options)


def missing_data(config: AnyRun) -> str | None:
    """Return the name of a data set that the run needs and that must be downloaded first, or None."""
    if config.data.directory:
        return None
    locations = data.locations()
    return next((name for name in _datasets(config) if name in locations and locations[name] is None), None)


def _names_files(images: ImagesConfig) -> bool:
    return bool(images.files or images.given)


def _datasets(config: AnyRun) -> list[str]:
    """Return the data sets that a run reads; a run that only restores image files or drawn images reads none."""
    if isinstance(config, RestoreRun):
        learns = isinstance(config, AccelerationRun) and "lle" in config.acceleration.starts
        names = [*config.restore.sets, *([config.data.dataset] if learns else [])]
        return [name for name in dict.fromkeys(names) if name in data.CATALOGUE]
    if isinstance(config, DipRun | ImageRun) or (isinstance(config, HybridRun) and not config.trains):
        return [] if isinstance(config, ImageRun) or _names_files(config.images) else [config.data.dataset]
    return [config.data.dataset]


def _refuse_more_than(config: AnyRun, name: str) -> None:
    """Raise UserError for image counts or indices beyond the size of a data set, and for a folder without a split."""
    if isinstance(config, RestoreRun):
        first, images = config.restore.first, config.restore.images
        if name not in config.restore.sets:
            return
        if first + images > (count := _count(config.data, name, "test")):
            problem = f"{name} has {count:,} test images, not {first + images:,}."
            raise UserError(problem, f"Lower restore.images to {max(count - first, 0):,} or less.")
        return
    trains = isinstance(config, DdpmRun) or (isinstance(config, HybridRun) and config.trains)
    if (trains or config.data.train_images) and config.data.train_images > (
        count := _count(config.data, name, "train")
    ):
        problem = f"{name} has {count:,} images to train on, not {config.data.train_images:,}."
        raise UserError(problem, "Lower data.train_images, or set it to 0 for all images.")
    if not isinstance(config, DipRun | HybridRun) or _names_files(config.images):
        return
    count = _count(config.data, name, config.images.split)
    if (last := max(config.images.image_indices())) >= count:
        problem = f"There is no image {last} among the {count:,} {config.images.split} images of {name}."
        raise UserError(problem, f"Choose indices from 0 to {count - 1}, or the first ones: --images {min(count, 4)}.")


def _count(options: DataConfig, name: str, split: Split) -> int:
    """Return the number of images in a split.

    Raises UserError for a folder without any, and for damaged files as far as `folder.refuse_damaged` finds them.
    """
    if name in data.CATALOGUE:
        known = data.CATALOGUE[name]
        return known.train if split == "train" else known.test
    files = folder.parse(name).split(split)
    folder.refuse_damaged(files, options.white)
    return len(files)


def _refuse_prior(run: str) -> None:
    """Raise UserError for a prior whose run doesn't exist or has no trained model."""
    folder = reference.prior_folder(run)
    if not folder.is_dir():
        problem = f"The run of the prior doesn't exist: {folder}."
        raise UserError(problem, "Name another run with --from, or train a prior with --epochs.")
    trained.trained_config(folder)


def _refuse_networks(config: RestoreRun) -> None:
    """Raise UserError for a conditioned network that doesn't exist, or whose task isn't among the tasks."""
    if isinstance(config, MapRun) and config.restore.conditioned:
        raise UserError("A map compares priors, and conditioned networks have none.", "Leave --conditioned out.")
    tasks = {format_task(parse_task(text)) for text in config.restore.tasks}
    for run in config.restore.conditioned:
        run_config, _ = trained.conditioned_config(Path(run))
        if (task := format_task(run_config.task)) not in tasks:
            problem = f"The network of {Path(run).name} is trained for {task}, which is not among the tasks."
            raise UserError(problem, f"Add --task {task}, or leave out --conditioned {Path(run).name}.")


def _refuse_images(config: DipRun | HybridRun | ImageRun) -> None:
    """Raise UserError for image files, or a mask or kernel, that the run can't use."""
    from dipddpm.core.io import kernels, masks
    from dipddpm.core.io.pictures import inspect
    from dipddpm.core.launch import given

    given.refuse(config.images, config.task)
    sizes: dict[str, tuple[int, int]] = {}
    for name in config.images.files:
        if not name:
            raise UserError("A name among images.files is empty.", "Leave it out, or name an image file.")
        sizes[name] = inspect(home.expand(name), config.images.white).shape[1:]
        for side, word in zip(sizes[name], ("high", "wide"), strict=True):
            if side < 2:
                problem = f"{name} is {side} pixel {word}, and the networks need at least 2 pixels a side."
                raise UserError(problem, "Leave it out, or enlarge it.")
    if config.task.noise == "unknown" and not config.images.given:
        raise UserError("Unknown noise can't be added to true images.", _NOISE_REMEDY)
    if isinstance(config.task, Deblur) and config.task.kernel == "file":
        kernels.read_kernel(config.task.file)
    if config.images.given or not isinstance(config.task, Inpaint) or not config.task.mask:
        return
    dataset = config.data.dataset
    if not sizes and dataset in data.CATALOGUE:
        sizes[dataset] = data.CATALOGUE[dataset].shape[1:]
    elif not sizes:
        side = folder.parse(dataset).size
        sizes[dataset] = side, side
    for height, width in sizes.values():
        masks.read_mask(home.expand(config.task.mask), (height, width))


def _refuse_method(config: ImageRun) -> None:
    """Raise UserError for a run without pictures, and for a method whose package or prior is missing."""
    if not config.images.given:
        raise UserError("There is no picture to restore.", "Name a picture: dipddpm restore-image photo.png")
    facts = PICTURE_METHODS.get(config.picture.method)
    if facts and facts.extra and importlib.util.find_spec(facts.extra) is None:
        problem = f"The method {config.picture.method} needs the package {facts.extra}, which is not installed."
        raise UserError(problem, f"Install it with pip install {facts.extra}, or take nl-bayes, which is similar.")
    if config.needs_prior:
        _refuse_prior(config.prior.run)


def _refuse_tasks(config: RestoreRun) -> None:
    """Raise UserError for a mask or a kernel of a head-to-head, whose images are all 28x28, and for unknown noise."""
    from dipddpm.core.io import kernels, masks

    for text in config.restore.tasks:
        task = parse_task(text)
        if task.noise == "unknown":
            raise UserError(f"{text} has unknown noise, which can't be added to true images.", _NOISE_REMEDY)
        if isinstance(task, Deblur) and task.kernel == "file":
            kernels.read_kernel(task.file)
        if isinstance(task, Inpaint) and task.mask:
            masks.read_mask(home.expand(task.mask), (28, 28))
