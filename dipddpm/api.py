"""The functions of the public API: images, degradations, restoration, training and sampling for a notebook.

Images are float tensors of shape (N, C, H, W) with values in [0, 1]. Settings map the keys of `dipddpm run --set` to
values, such as `{"dip.iterations": 500}`, and are validated in the same way. A device is `auto` (the first GPU, or the
CPU if there is none), `cpu`, `mps`, `cuda` or `cuda:N`. Every error that the caller can put right is a `UserError`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

import torch
from torch import Tensor

from dipddpm.core import config as configs
from dipddpm.core import images as pictures
from dipddpm.core.compute import devices
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HYBRIDS, DdpmRun, HybridRun, Inpaint, parse_task
from dipddpm.core.config.ddpm import USUAL_ETA, DdpmConfig, SamplerName
from dipddpm.core.config.shapes import refuse_other_shape
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import LOWER_REMEDY, Sampling
from dipddpm.core.ddpm.solvers import solver
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.noise_estimate import resolve_noise
from dipddpm.core.errors import UserError, suggest
from dipddpm.core.events import Item
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.experiments.priors import load_prior as load_best_model
from dipddpm.core.experiments.priors import prior_warnings
from dipddpm.core.io import home
from dipddpm.core.methods.base import HasSamples, Restorer, hybrid_restorer
from dipddpm.core.methods.budget import Stopwatch, clock_of
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.pictures import PictureMethods
from dipddpm.core.metrics.usable import count_unusable, unusable_text

Settings: TypeAlias = Mapping[str, Any]
"""Config values by dotted key."""
FORMULAS: dict[str, Callable[[Case], Tensor]] = {
    "pinv": lambda case: case.degradation.operator.pinv(case.y),
    **{name: classic.restore for name, classic in CLASSICS.items()},
}
"""Methods that compute the result in one step, without a network."""
PATCH_PRIOR = "patch-prior"
SAMPLERS = {
    "ddpm": ("", 0),
    "ddnm": ("ddnm", 100),
    "diffpir": ("diffpir", 100),
    "robust": ("robust", 100),
    "dps": ("dps", 100),
    "pigdm": ("pigdm", 50),
    "mmps": ("mmps", 20),
}
"""Diffusion methods and their steps; `ddpm` selects the sampler and the steps that are best for the task."""


def load_images(*paths: Path | str) -> Tensor:
    """Load image files of one size as one float32 tensor (N, C, H, W) in [0, 1]; C is 1 (grey) or 3 (RGB).

    Formats are PNG, JPEG, TIFF, BMP, GIF, WEBP and PPM. PNG and TIFF files keep 16 bits, TIFFs also floats in [0, 1];
    colours are converted to sRGB by the file's profile; transparent pixels are blended over white; EXIF orientation is
    applied.

    Raises UserError if no file is given, if a file is missing, damaged, not an image or larger than 67 million pixels,
    and if the images differ in size or channels.
    """
    if not paths:
        raise UserError("No image file was given.", 'Give at least one, such as load_images("photo.png").')
    loaded = [pictures.load_image(home.expand(path))[0] for path in paths]
    for path, image in zip(paths, loaded, strict=True):
        if image.shape != loaded[0].shape:
            sizes = ["x".join(map(str, shape)) for shape in (loaded[0].shape, image.shape)]
            problem = f"{paths[0]} has {sizes[0]} values (channels, height, width), and {path} has {sizes[1]}."
            raise UserError(problem, "Load images of the same size and number of channels.")
    return torch.stack(loaded)


def degrade(task: str, x: Tensor, *, seed: int = 0) -> tuple[Tensor, Degradation]:
    """Degrade true images x (N, C, H, W) in [0, 1] by a task such as `inpaint:missing=0.7,sigma=10`.

    The tasks are `denoise`, `inpaint`, `superres` and `deblur`; noise levels are standard deviations in 8-bit grey
    levels. Returns the measurements y = A x + noise, float and never clipped, and the degradation, which `restore`
    needs. y has the shape of x, but (N, C, H/factor, W/factor), rounded up, for `superres`. `dipddpm run` makes the
    same measurements from the same files and seed.

    Raises UserError for a task or task option that doesn't exist, and for images of another type or shape or with
    values that aren't finite.
    """
    case = Case.of(_checked(x), parse_task(task), [f"file {index}" for index in range(len(x))], seed)
    return case.y, case.degradation


def describe(task: str, y: Tensor) -> Degradation:
    """Return the degradation of measurements y (N, C, H, W) whose true images are unknown.

    The task is written as for `dipddpm restore-image`: `denoise`, `inpaint:mask=FILE`, `superres:factor=2` or
    `deblur:width=1.5`. If it says nothing about noise, the kind and the level are estimated from y; only the known
    pixels of an `inpaint` task are taken as exact. All images y are taken to have the same noise.

    Raises UserError for a random mask, which can't be known afterwards, and for a task that doesn't exist.
    """
    parsed = parse_task(task, given=True)
    if isinstance(parsed, Inpaint) and not (parsed.mask or parsed.box):
        raise UserError("A random mask can't be known afterwards.", "Give the mask as a file: inpaint:mask=FILE.")
    case = Case.given(_checked(y), parsed, seed=0)
    return resolve_noise(case.y, case.degradation)[0]


class Restoration:
    """A restoration in progress: iterate it for its events, or read `images`, which runs the remaining steps."""

    def __init__(self, case: Case, restorer: Stopwatch) -> None:
        self.case = case
        self._stopwatch = restorer
        self._ended = False

    def __len__(self) -> int:
        """Return the largest number of steps; the fits may stop earlier."""
        return len(self._stopwatch.restorer)

    def __iter__(self) -> Iterator[Item]:
        """Run the remaining steps and yield their events."""
        yield from self._stopwatch
        self._ended = True

    def run(self) -> Restoration:
        """Run the remaining steps and return the restoration itself."""
        if not self._ended:
            for _ in self:
                pass
        return self

    @property
    def images(self) -> Tensor:
        """The restored images, float (N, C, H, W), clipped to [0, 1], on the CPU; runs the remaining steps first.

        Warns of images that are not finite. Raises UserError if no image is.
        """
        restored = self.run()._stopwatch.restorer.images
        return _clipped(restored, "restored images", "Lower dip.lr, or take another prior.")

    @property
    def samples(self) -> Tensor | None:
        """The samples whose mean `images` is, float (K, N, C, H, W), clipped to [0, 1], on the CPU.

        Runs the remaining steps first. None for methods that don't average samples of the posterior, or only one.
        """
        restorer = self.run()._stopwatch.restorer
        samples = restorer.samples if isinstance(restorer, HasSamples) else None
        return None if samples is None else samples.detach().cpu().clamp(0, 1)

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the results that `images` averages, float (N, C, H, W), in [0, 1], on the CPU.

        For K samples or fits, the divisor is K - 1; `calibrated` weights its results. Runs the remaining steps first.
        None for methods that average nothing.
        """
        spread = self.run()._stopwatch.restorer.spread
        return None if spread is None else spread.detach().cpu()

    @property
    def nfe(self) -> int:
        """The number of evaluations of the diffusion network so far, per image; 0 for methods without one."""
        return self._stopwatch.restorer.nfe

    @property
    def seconds(self) -> float:
        """The seconds of computing so far, including the construction of the networks."""
        return self._stopwatch.seconds


def methods() -> list[str]:
    """Return the names of the methods that `restore` supports: hybrids, networks, samplers and formulas."""
    hybrids = [name for name, options in HYBRIDS.items() if options.restorer_path]
    return [*hybrids, "dip", PATCH_PRIOR, *SAMPLERS, *FORMULAS]


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
    """Restore images from measurements y (N, C, h, w), as `degrade` returns them, by one of `methods()`.

    `prior` is a trained diffusion model from `load_prior` or `train_ddpm`; None loads the one that ships with the
    program, for 28x28 grey images, or for `patch-prior` the one for pictures of any size. Methods without a diffusion
    model, such as `dip`, ignore it. `settings` may hold options of the method (`hybrid.*`) and of its DIP fits
    (`dip.*`). `seed` is the seed of all random draws. The work starts when the returned `Restoration` is iterated or
    its `images` are read.

    Sources: `dip` is the Deep Image Prior (Ulyanov et al., CVPR 2018), `ddnm` is DDNM+ (Wang et al., ICLR 2023),
    `diffpir` is DiffPIR (Zhu et al., CVPRW 2023), `robust` is DiffPIR with Huber's loss, `dps` is DPS (Chung et al.,
    ICLR 2023), `pigdm` is PiGDM (Song et al., ICLR 2023), `mmps` is MMPS (Rozet et al., NeurIPS 2024), `guided` follows
    RED-diff (Mardani et al., ICLR 2024), `prior-init` CCDF (Chung et al., CVPR 2022), and `pinv` is A+ y. The classic
    methods, such as `nlm`, restore some tasks each.

    Raises UserError for a method, setting or device that doesn't exist, for measurements that aren't finite, for a
    prior of images of another size, and for a task that a classic method doesn't restore.
    """
    if method not in methods():
        raise UserError(f"There is no method {method!r}.", suggest(method, methods()))
    is_hybrid = method in HYBRIDS
    config = configs.build("hybrid", method=method if is_hybrid else None, settings=settings)
    assert isinstance(config, HybridRun)
    target = _device(device)
    shape = tuple(degradation.operator.pinv(_checked(y)).shape)
    n, channels, height, width = shape
    y = y * degradation.operator.measured(y)  # what a given picture has at missing pixels is no measurement
    case = Case(y, degradation, (n, channels, height, width), seed=derive(seed, "restoration")).to(target)
    if classic := CLASSICS.get(method):
        classic.refuse_other(case.degradation)
    model = (prior or load_prior("leaves", device=device)) if method == PATCH_PRIOR else None
    if config.hybrid.needs_prior if is_hybrid else method in SAMPLERS:
        model = prior or load_prior(device=device)
        if not model.any_size:
            refuse_other_shape(shape[1:], model.shape)

    def make() -> Restorer:
        if is_hybrid:
            return hybrid_restorer(case, model, config.hybrid, config.dip)
        if method == "dip":
            return DipRestorer(case, config.dip)
        if method == PATCH_PRIOR:
            return PictureMethods(model, config.dip).maker(method, with_spread=False)(case)
        if model is not None:
            sampler, steps = SAMPLERS[method]
            return DdpmRestorer(case, model, method=sampler, steps=steps)
        return ClosedFormRestorer(case, FORMULAS[method])

    return Restoration(case, Stopwatch(make, clock_of(target)))


def load_prior(run: Path | str = "reference", *, device: str = "auto") -> TrainedModel:
    """Load the best diffusion model of a run, in eval mode, onto a device.

    `run` is the path of a run folder, or a model that ships with the program: `reference` for 28x28 grey images, or
    `leaves` for pictures of any size and number of channels.

    Raises UserError if the folder doesn't exist, if the run has trained no diffusion model, if its file is damaged, and
    for a device that doesn't exist. Warns of a model that can't see the brightness or the contrast of its input.
    """
    model, _ = load_best_model(str(home.expand(run)), _device(device))
    for warning in prior_warnings(model):
        warnings.warn(warning.text, RuntimeWarning, stacklevel=2)
    return model


class Training:
    """A DDPM training in progress: iterate it for its events, or read `model`, which runs the remaining epochs."""

    def __init__(self, experiment: DdpmExperiment) -> None:
        self._training = experiment.training
        self._config = experiment.config.ddpm
        self._ended = False

    def __iter__(self) -> Iterator[Item]:
        """Run the remaining epochs and yield their events."""
        yield from self._training
        self._ended = True

    @property
    def model(self) -> TrainedModel:
        """The trained model, with averaged weights if `ddpm.ema` is set; runs the remaining epochs first."""
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
    """Train a diffusion model (Ho et al., NeurIPS 2020) on images.

    `images` is a data set from `dipddpm.core.data.load`, or a float tensor (N, C, H, W) in [0, 1], which is rounded to
    8 bits. `epochs` is the number of passes over the images. `preset` is a preset of `dipddpm run ddpm`: `cpu` and
    `gpu` train U-Nets, `tutorial` trains the published baseline's network. `settings` override `preset` and `epochs`.
    The training starts when the returned `Training` is iterated or its `model` is read.

    Raises UserError for a preset, setting or device that doesn't exist, and for images that the network doesn't
    support.
    """
    if isinstance(images, Tensor):
        labels = torch.zeros(len(_checked(images)), dtype=torch.int64)
        images = ImageSet("images", "train", pictures.to_bytes(images), labels, ("image",), source="")
    given = {"ddpm.epochs": epochs, "seed": seed, "ddpm.samples": 0} | dict(settings or {})
    config = configs.build("ddpm", preset=preset, settings=given)
    assert isinstance(config, DdpmRun)
    return Training(DdpmExperiment(config, images, _device(device)))


def sample(
    prior: TrainedModel,
    count: int = 16,
    *,
    sampler: str = "heun",
    steps: int = 10,
    eta: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Draw samples, float (count, C, H, W), clipped to [0, 1], on the CPU, from a trained diffusion model.

    `sampler` is `ancestral` (Ho et al., NeurIPS 2020), `ddim` (Song et al., ICLR 2021), `dpm++` (Lu et al., 2022),
    `heun` (Karras et al., NeurIPS 2022) or `restart` (Xu et al., NeurIPS 2023), which is `heun` with 40 evaluations
    more. `steps` is the number of sampler steps, 0 for all timesteps; `heun` evaluates the network twice in each step
    but the last. `eta` is the share of fresh noise in each step of `ddim` (0 by default) and `dpm++` (1 by default: it
    has the best samples in 20 steps). Equal seeds give equal samples.

    Warns of samples that are not finite. Raises UserError if no sample is, for a sampler that doesn't exist, and for
    more steps than the model has timesteps.
    """
    if sampler not in get_args(SamplerName):
        raise UserError(f"There is no sampler {sampler!r}.", suggest(sampler, get_args(SamplerName)))
    name = cast(SamplerName, sampler)
    sampling = Sampling(
        prior.denoiser(),
        solver(name, DdpmConfig(eta=USUAL_ETA.get(name, 0.0) if eta is None else eta)),
        (count, *prior.shape),
        steps=steps,
        device=prior.device,
        seed=seed,
    )
    for _ in sampling:
        pass
    return _clipped(pictures.to_unit(sampling.xt), "samples", LOWER_REMEDY)


def _device(name: str) -> torch.device:
    """Return the device of this name; `auto` is the first GPU, or the CPU if there is none."""
    return devices.resolve(devices.candidates(name)[0])


def _clipped(images: Tensor, noun: str, remedy: str) -> Tensor:
    """Return the images, called `noun`, clipped to [0, 1]; values that aren't finite become NaN."""
    if problem := unusable_text(images, noun):
        if count_unusable(images) == len(images):
            raise UserError(f"{problem}.", remedy)
        warnings.warn(f"{problem}. {remedy}", RuntimeWarning, stacklevel=3)
    return pictures.clip_visibly(images).cpu()


def _checked(images: Tensor) -> Tensor:
    """Return the images unchanged. Raises UserError unless they are a float tensor (N, C, H, W) of finite values."""
    if images.ndim != 4 or not images.is_floating_point():
        problem = f"Images must be a float tensor (N, C, H, W), not {images.dtype} of shape {tuple(images.shape)}."
        raise UserError(problem, "Give values in [0, 1], as load_images does.")
    if not len(images) or not bool(images.isfinite().all()):
        problem = "The tensor holds no images, or values that are not finite."
        raise UserError(problem, "Give at least one image, with finite values in [0, 1].")
    return images
