"""The functions of the public API: images, degradations, restoration, training and sampling for a notebook.

Images are float tensors (N, C, H, W) in [0, 1]. Settings have the keys of `dipddpm run --set`, such as
`{"dip.iterations": 500}`, and are checked as these are. Every error that a caller can put right is a `UserError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import images as pictures
from dipddpm.core.compute import devices
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HYBRIDS, DdpmRun, HybridRun, Inpaint, Superres, parse_task
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.events import Item
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.experiments.hybrid import refuse_other_size
from dipddpm.core.experiments.priors import load_prior as load_best_model
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.budget import Stopwatch, clock_of
from dipddpm.core.methods.classical import filters
from dipddpm.core.methods.classical.filters import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer

Settings: TypeAlias = Mapping[str, Any]
"""Dotted keys of a config and their values."""
FORMULAS: dict[str, Callable[[Case], Tensor]] = {
    "classic": filters.restore_classic,
    "pinv": lambda case: case.degradation.operator.pinv(case.y),
}
"""Methods in one step, without a network."""
SAMPLERS = {"ddpm": ("", 0), "ddnm": ("ddnm", 100), "diffpir": ("diffpir", 100)}
"""Diffusion methods and their steps; `ddpm` is the one that serves the task best."""


def load_images(*paths: Path | str) -> Tensor:
    """Load image files of one size as float (N, C, H, W) in [0, 1]; C is 1 or 3.

    Raises UserError for no files, for a file that isn't an image, and for images that differ in size or channels.
    """
    if not paths:
        raise UserError("No image file was given.", 'Name one, as load_images("photo.png").')
    loaded = [pictures.load_image(Path(path).expanduser())[0] for path in paths]
    for path, image in zip(paths, loaded, strict=True):
        if image.shape != loaded[0].shape:
            sizes = ["x".join(map(str, shape)) for shape in (loaded[0].shape, image.shape)]
            problem = f"{paths[0]} has {sizes[0]} values (channels, height, width), and {path} has {sizes[1]}."
            raise UserError(problem, "Load images of one size and one number of channels.")
    return torch.stack(loaded)


def degrade(task: str, x: Tensor, *, seed: int = 0) -> tuple[Tensor, Degradation]:
    """Degrade images as a task says, such as `inpaint:missing=0.7,sigma=10`.

    Returns the measurements y and the degradation that restoration needs. They equal those of `dipddpm run` with the
    same files and seed. Raises UserError for a task that doesn't exist.
    """
    case = Case.of(_checked(x), parse_task(task), [f"file {index}" for index in range(len(x))], seed)
    return case.y, case.degradation


def describe(task: str, y: Tensor) -> Degradation:
    """Say how measurements y (N, C, H, W) were degraded when no true image is known.

    y has the size of the images wanted, so this is for `denoise`, `deblur` and `inpaint:mask=FILE`. Raises UserError
    for a random mask, which nobody can know afterwards, and for super-resolution, whose y is smaller.
    """
    parsed = parse_task(task)
    if isinstance(parsed, Inpaint) and not (parsed.mask or parsed.box):
        raise UserError("A random mask can't be known afterwards.", "Give it as a file: inpaint:mask=FILE.")
    if isinstance(parsed, Superres):
        raise UserError("y is smaller than the images wanted.", "Use degrade on a true image of the size wanted.")
    height, width = _checked(y).shape[-2:]
    return Degradation.from_task(parsed, (height, width), torch.Generator())


class Restoration:
    """A restoration at work: iterate it for events, or read `images`, which carries out what is left of it."""

    def __init__(self, case: Case, restorer: Stopwatch) -> None:
        self.case = case
        self._stopwatch = restorer
        self._ended = False

    def __len__(self) -> int:
        """Steps in all, at most."""
        return len(self._stopwatch.restorer)

    def __iter__(self) -> Iterator[Item]:
        """Carry out the work, and yield what happens."""
        yield from self._stopwatch
        self._ended = True

    def run(self) -> Restoration:
        """Carry out what is left."""
        if not self._ended:
            for _ in self:
                pass
        return self

    @property
    def images(self) -> Tensor:
        """The restored images (N, C, H, W) in [0, 1], on the CPU."""
        return self.run()._stopwatch.restorer.images.clamp(0, 1).cpu()

    @property
    def nfe(self) -> int:
        """Evaluations of the diffusion network for each image so far."""
        return self._stopwatch.restorer.nfe

    @property
    def seconds(self) -> float:
        """What the work has taken so far, the making of the networks included."""
        return self._stopwatch.seconds


def methods() -> list[str]:
    """The names that `restore` knows."""
    hybrids = [name for name, options in HYBRIDS.items() if options.restorer_path]
    return [*hybrids, "dip", *SAMPLERS, *FORMULAS]


def restore(
    y: Tensor,
    degradation: Degradation,
    method: str = "calibrated",
    *,
    prior: TrainedModel | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Settings | None = None,
) -> Restoration:
    """Restore images from measurements y, by any of `methods()`.

    `prior` is a trained diffusion model from `load_prior`; None takes the one that ships, for 28x28 grey images.
    `settings` hold options of the method and of its DIP fits. Raises UserError for a method or setting that doesn't
    exist, and for a prior of images of another size.
    """
    if method not in methods():
        raise UserError(f"There is no method {method!r}.", suggest(method, methods()))
    is_hybrid = method in HYBRIDS
    config = configs.build("hybrid", method=method if is_hybrid else None, settings=settings)
    assert isinstance(config, HybridRun)
    target = _device(device)
    shape = tuple(degradation.operator.pinv(_checked(y)).shape)
    n, channels, height, width = shape
    case = Case(y, degradation, (n, channels, height, width), seed=derive(seed, "restoration")).to(target)
    model = None
    if config.hybrid.needs_prior if is_hybrid else method in SAMPLERS:
        model = prior or load_prior(device=device)
        refuse_other_size(shape[1:], model.shape)

    def make() -> Restorer:
        if is_hybrid:
            return hybrid_restorer(case, model, config.hybrid, config.dip)
        if method == "dip":
            return DipRestorer(case, config.dip)
        if model is not None:
            sampler, steps = SAMPLERS[method]
            return DdpmRestorer(case, model, method=sampler, steps=steps)
        return ClosedFormRestorer(case, FORMULAS[method])

    return Restoration(case, Stopwatch(make, clock_of(target)))


def load_prior(run: Path | str = "reference", *, device: str = "auto") -> TrainedModel:
    """Load the best diffusion model of a run folder; `reference` is the one that ships, for 28x28 grey images.

    Raises UserError for a folder that isn't there or has no model of its own.
    """
    return load_best_model(str(Path(run).expanduser()), _device(device))[0]


class Training:
    """A DDPM training at work: iterate it for events, or read `model`, which carries out what is left of it."""

    def __init__(self, experiment: DdpmExperiment) -> None:
        self._training = experiment.training
        self._config = experiment.config.ddpm
        self._ended = False

    def __iter__(self) -> Iterator[Item]:
        """Carry out the training, and yield what happens."""
        yield from self._training
        self._ended = True

    @property
    def model(self) -> TrainedModel:
        """The trained model, with its averaged weights where the settings ask for an average."""
        if not self._ended:
            for _ in self:
                pass
        network = self._training.averaged.eval()
        return TrainedModel(network, self._training.schedule, self._config, self._training.images.device)


def train_ddpm(
    images: ImageSet | Tensor,
    *,
    epochs: int = 20,
    preset: str = "cpu",
    seed: int = 0,
    device: str = "auto",
    settings: Settings | None = None,
) -> Training:
    """Train a diffusion model on images: a data set from `dipddpm.core.data.load`, or a tensor (N, C, H, W) in [0, 1].

    Raises UserError for a preset or setting that doesn't exist, and for images that the network can't take.
    """
    if isinstance(images, Tensor):
        labels = torch.zeros(len(_checked(images)), dtype=torch.int64)
        images = ImageSet("images", "train", pictures.to_bytes(images), labels, ("image",), source="")
    given = {"ddpm.epochs": epochs, "seed": seed, "ddpm.samples": 0} | dict(settings or {})
    config = configs.build("ddpm", preset=preset, settings=given)
    assert isinstance(config, DdpmRun)
    return Training(DdpmExperiment(config, images, _device(device)))


def sample(prior: TrainedModel, count: int = 16, *, sampler: str = "heun", steps: int = 10, seed: int = 0) -> Tensor:
    """Draw samples (count, C, H, W) in [0, 1] from a trained diffusion model.

    `steps` are the sampler's; Heun's method evaluates the network twice a step but for the last. Raises UserError for
    a sampler that doesn't exist, and for more steps than the model has timesteps.
    """
    if sampler not in get_args(SamplerName):
        raise UserError(f"There is no sampler {sampler!r}.", suggest(sampler, get_args(SamplerName)))
    sampling = Sampling(
        prior.denoiser(),
        solver(cast(SamplerName, sampler)),
        (count, *prior.shape),
        steps=steps,
        device=prior.device,
        seed=seed,
    )
    for _ in sampling:
        pass
    return pictures.to_unit(sampling.xt).clamp(0, 1).cpu()


def _device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first accelerator, else the CPU."""
    return devices.resolve(devices.candidates(name)[0])


def _checked(images: Tensor) -> Tensor:
    """Return images as they are. Raises UserError for what isn't a float tensor (N, C, H, W) of finite values."""
    if images.ndim != 4 or not images.is_floating_point():
        problem = f"Images must be a float tensor (N, C, H, W), not {images.dtype} of shape {tuple(images.shape)}."
        raise UserError(problem, "Give values in [0, 1], as load_images does.")
    if not len(images) or not bool(images.isfinite().all()):
        raise UserError(
            "The images hold values that are not finite, or there are none.", "Give finite values in [0, 1]."
        )
    return images
