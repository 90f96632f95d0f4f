"""The complete config of a run, one class per kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import Indices, Natural, NonNegative, Section, by_tag
from dipddpm.core.config.ddpm import DdpmConfig, UNetConfig
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import HYBRIDS, Calibrated, HybridMethod
from dipddpm.core.config.picture import PICTURE_METHODS, PictureConfig
from dipddpm.core.config.study import (
    AccelerationConfig,
    AccelerationImages,
    ExplanationConfig,
    MapConfig,
    MapImages,
    RestoreConfig,
    StudyConfig,
    restoring_methods,
)
from dipddpm.core.config.tasks import Denoise, Task, format_task
from dipddpm.core.errors import UserError
from dipddpm.core.io import home

VERSION = 1
MAX_IMAGES = 100_000
"""Largest number of images in one run; every split of the data sets here is smaller."""
CHECKPOINT_SECONDS = 60.0
DatasetName: TypeAlias = Annotated[
    str, Meta(min_length=1), "fashionmnist, fashion-mini, mnist, kmnist, cifar10 or folder:PATH"
]


class DataConfig(Section, frozen=True):
    """The data set for training a model or for taking images to restore."""

    dataset: DatasetName = "fashionmnist"
    directory: Annotated[str, "folder to search for the data set first; empty: only the default folders"] = ""
    train_images: Annotated[Natural, "number of training images, from the first one on; 0: all"] = 0
    grey: Annotated[bool, "whether to convert the images of a folder to grey"] = False
    white: Annotated[
        NonNegative,
        "value of white in files of floats or of more than 8 bits in a folder; 0: 1 in floats, else the type's largest",
    ] = 0.0

    @property
    def root(self) -> Path | None:
        """The folder to search first; None for the default folders alone."""
        return home.expand(self.directory) if self.directory else None


class SmallDataConfig(DataConfig, frozen=True):
    """The data set of a run for which the small data set that ships with the program is enough by default."""

    dataset: DatasetName = "fashion-mini"


class ImagesConfig(Section, frozen=True):
    """The images to degrade and restore."""

    indices: Annotated[Indices, "indices in the split, such as 0-9 or 3,17,42; by default fewer if there are fewer"] = (
        "0-9"
    )
    split: Annotated[Literal["train", "test"], "split of the data set that the images come from"] = "test"
    files: Annotated[tuple[str, ...], "image files to use instead of the data set"] = ()
    given: Annotated[tuple[str, ...], "damaged image files to restore as they are: nothing is added to them"] = ()
    truth: Annotated[
        tuple[str, ...], "files of the true images of given ones, in the same order, if they are known"
    ] = ()
    grey: Annotated[bool, "whether to convert image files to grey"] = False
    white: Annotated[
        NonNegative,
        "value of white in image files of floats or of more than 8 bits; 0: 1 in floats, else the type's largest",
    ] = 0.0

    def __post_init__(self) -> None:
        ranges = self._ranges()
        if not all(ranges):
            raise ValueError("indices must increase within a range, such as 0-9")
        if sum(span.stop - span.start for span in ranges) > MAX_IMAGES:
            raise ValueError(f"indices name more than {MAX_IMAGES:,} images")
        if self.files and self.given:
            raise ValueError("files are intact images and given ones are damaged, so a run takes only one of the two")

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.given) or len(self.files) or sum(map(len, self._ranges()))

    def image_indices(self) -> list[int]:
        """Return the indices as numbers, in the order given."""
        return [index for span in self._ranges() for index in span]

    def _ranges(self) -> list[range]:
        ends = (part.partition("-") for part in self.indices.split(","))
        return [range(int(first), int(last or first) + 1) for first, _, last in ends]


class PriorConfig(Section, frozen=True):
    """The trained diffusion model that a hybrid builds on."""

    run: Annotated[
        str,
        "folder of the run whose best model is the prior, or one that ships with the program: reference (28x28 grey "
        "images) or leaves (pictures of any size and colour); empty: train a prior first, with the options of ddpm",
    ] = "reference"

    @property
    def runs(self) -> tuple[str, ...]:
        """All priors, in the order in which they are loaded; empty if a prior is trained first."""
        return (self.run,) if self.run else ()


class HybridPriorConfig(PriorConfig, frozen=True):
    """The trained diffusion models that a hybrid builds on: one, or two for `calibrated`."""

    second: Annotated[
        str,
        "folder of a run, or a name like run, whose best model is a further candidate of calibrated; empty: none",
    ] = ""

    @property
    def runs(self) -> tuple[str, ...]:
        """All priors, in the order in which they are loaded; empty if a prior is trained first."""
        return (*super().runs, *([self.second] if self.second else []))


class PriorsConfig(HybridPriorConfig, frozen=True):
    """The trained diffusion models whose restorations are compared."""

    others: Annotated[
        tuple[str, ...], "further priors of the same image size, like run: folders, or names of those that ship"
    ] = ("reference-leaves", "reference-50", "reference-500", "reference-5000")

    @property
    def runs(self) -> tuple[str, ...]:
        """All priors, in the order in which they are loaded."""
        return (*super().runs, *self.others)

    @property
    def shown(self) -> tuple[str, ...]:
        """The priors that are compared, in the order in which they are shown."""
        return (*self.others, self.run)


class LeavesPriorConfig(PriorConfig, frozen=True):
    """The trained diffusion model of patches, for pictures of any size."""

    run: Annotated[
        str, "folder of the run whose best model is the prior, or leaves for the one of dead leaves that ships"
    ] = "leaves"


class RunConfig(Section, tag_field="kind", frozen=True):
    """The options that every kind of run has."""

    experiment: ClassVar[str] = ""
    starts_others: ClassVar[bool] = False
    """True if other runs do the work. Such a run needs no device and must not occupy one that the others wait for."""

    version: Annotated[int, Meta(ge=1, le=VERSION), "version of the config format"] = VERSION
    name: Annotated[str, Meta(max_length=200), "name of the run, shown in lists and reports"] = ""
    group: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9._+-]{0,80}\Z"),
        "name of the group of runs that the run belongs to: at most 80 letters, digits and . _ + -",
    ] = ""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1), "seed of every random draw"] = 0
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)\Z"), "auto, cpu, mps, cuda or cuda:N"] = "auto"
    threads: Annotated[int, Meta(ge=0, le=1024), "number of CPU threads for torch; 0: all cores"] = 0
    checkpoint_seconds: Annotated[
        NonNegative,
        "most seconds between two checkpoints; there are more where they are cheap: with each epoch where "
        "that takes under 2% of it, else with each best model; 60, the default, gives way where a checkpoint takes "
        "over 5% of the time; 0: one after every Step event",
    ] = CHECKPOINT_SECONDS
    checkpoint_epochs: Annotated[
        Natural, "most epochs between two checkpoints, whatever they cost; 0: as many as their cost allows"
    ] = 0
    data: DataConfig = DataConfig()

    @property
    def kind(self) -> str:
        """The kind of run: `dip`, `ddpm`, `hybrid`, `restore`, `acceleration`, `map`, `image`, `explanation`
        or `study`."""
        return str(type(self).__struct_config__.tag)

    @property
    def method(self) -> str:
        """The hybrid's method, or else the network, by which lists distinguish the runs of one kind."""
        raise NotImplementedError


class SharedRun(RunConfig, frozen=True):
    """A run whose work several processes can share."""

    processes: Annotated[
        int, Meta(ge=1, le=64), "number of processes that share the work, each on its own GPU or all on the CPU"
    ] = 1

    def __post_init__(self) -> None:
        if self.processes > 1 and self.device not in {"auto", "cpu"}:
            raise ValueError("device must be auto or cpu if several processes share the work")

    def _refuse_idle(self, count: int, parts: str, remedy: str) -> None:
        """Raise UserError if there are more processes than the `count` parts of the work."""
        if self.processes > count:
            problem = f"There are {self.processes} processes for only {count} {parts}."
            raise UserError(problem, f"Lower --gpus to {count}, or {remedy}.")


class DipRun(SharedRun, tag="dip", frozen=True):
    """Fit a Deep Image Prior to each of a few degraded images."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.dip:DipExperiment"

    images: ImagesConfig = ImagesConfig()
    task: Task = Denoise()
    dip: DipConfig = DipConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_idle(self.images.count, "image(s)", "give more images")
        if self.dip.stop == "discrepancy" and not self.task.has_noise_level():
            problem = "dip.stop = discrepancy needs a task with a known noise level."
            raise UserError(problem, "Give the task a sigma, or set dip.stop to variance or held-out.")

    @property
    def method(self) -> str:
        """The untrained network."""
        return self.dip.network


class DdpmRun(SharedRun, tag="ddpm", frozen=True):
    """Train a diffusion model on a data set."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.ddpm:DdpmExperiment"

    ddpm: DdpmConfig = DdpmConfig()
    unet: UNetConfig = UNetConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes > 1 and self.unet.dropout:
            raise ValueError("unet.dropout needs processes = 1, because each process would draw its own dropout")

    @property
    def method(self) -> str:
        """The network that predicts the noise."""
        return self.ddpm.network


class HybridRun(RunConfig, tag="hybrid", frozen=True):
    """Restore degraded images with a hybrid method and a diffusion prior, which is loaded or trained first."""

    prior: HybridPriorConfig = HybridPriorConfig()
    images: ImagesConfig = ImagesConfig()
    task: Task = Denoise()
    dip: DipConfig = DipConfig()
    ddpm: DdpmConfig = DdpmConfig()
    unet: UNetConfig = UNetConfig()
    hybrid: HybridMethod = Calibrated()

    def __post_init__(self) -> None:
        if not self.hybrid.supports(self.task):
            methods = [name for name in restoring_methods() if HYBRIDS[name].supports(self.task)]
            problem = f"{self.method} doesn't support the task {format_task(self.task)}."
            raise UserError(problem, f"Choose one of: {', '.join(methods)}.")
        if self.prior.second and not (isinstance(self.hybrid, Calibrated) and self.prior.run):
            taken = "a run that trains its prior" if isinstance(self.hybrid, Calibrated) else self.method
            problem = f"prior.second is a further candidate of calibrated, and {taken} takes no second prior."
            raise UserError(problem, "Leave prior.second out, or choose calibrated with two trained priors.")

    @property
    def method(self) -> str:
        """The hybrid method."""
        return str(type(self.hybrid).__struct_config__.tag)

    @property
    def trains(self) -> bool:
        """True if the run begins by training a network on the data set."""
        return self.hybrid.needs_prior and not (self.prior.run and self.hybrid.restorer_path)

    @property
    def trains_prior(self) -> bool:
        """True if the run trains a prior, which samples by itself, rather than a network with inputs besides xt."""
        return self.trains and (bool(self.hybrid.restorer_path) or self.hybrid.learns_prior)


class RestoreRun(SharedRun, tag="restore", frozen=True):
    """Restore the same degraded images with every method, at matched cost."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.restore.experiment:RestoreExperiment"

    prior: HybridPriorConfig = HybridPriorConfig()
    restore: RestoreConfig = RestoreConfig()
    dip: DipConfig = DipConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_idle(self.restore.degradations, "degraded set(s)", "give more tasks, sets or seeds")

    @property
    def method(self) -> str:
        """The hybrids to compare, if the config names any."""
        return " ".join(self.restore.methods) or "every method"


class AccelerationRun(RestoreRun, tag="acceleration", frozen=True):
    """Measure which start makes a diffusion sampler reach its quality in the least time, with the start's time."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.acceleration.experiment:AccelerationExperiment"

    restore: AccelerationImages = AccelerationImages()
    acceleration: AccelerationConfig = AccelerationConfig()

    @property
    def method(self) -> str:
        """The starts to compare."""
        return " ".join(self.acceleration.starts)


class ExplanationRun(RunConfig, tag="explanation", frozen=True):
    """Measure why the published hybrid failed."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.explanation:ExplanationExperiment"

    data: SmallDataConfig = SmallDataConfig()
    explanation: ExplanationConfig = ExplanationConfig()

    @property
    def method(self) -> str:
        """The hybrid that the run explains."""
        return "substitution"


class MapRun(RestoreRun, tag="map", frozen=True):
    """Measure for many priors, measurements and domains what a hybrid gains over DIP and diffusion alone."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.gain_map.experiment:MapExperiment"

    prior: PriorsConfig = PriorsConfig()
    restore: MapImages = MapImages()
    map: MapConfig = MapConfig()

    @property
    def method(self) -> str:
        """The hybrid whose gains are measured."""
        return " ".join(self.restore.methods)


class ImageRun(RunConfig, tag="image", frozen=True):
    """Restore damaged pictures whose truth is unknown."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.image.experiment:ImageExperiment"

    images: ImagesConfig = ImagesConfig()
    task: Task = Denoise()
    picture: PictureConfig = PictureConfig()
    prior: LeavesPriorConfig = LeavesPriorConfig()
    dip: DipConfig = DipConfig()

    def __post_init__(self) -> None:
        name = str(type(self.task).__struct_config__.tag)
        chosen = PICTURE_METHODS.get(self.picture.method)
        if chosen and name not in chosen.tasks:
            methods = [each for each, facts in PICTURE_METHODS.items() if name in facts.tasks]
            problem = f"{self.picture.method} doesn't support the task {name}."
            raise UserError(problem, f"Choose auto, or one of: {', '.join(methods)}.")

    @property
    def method(self) -> str:
        """The method that restores, or `auto`."""
        return self.picture.method

    @property
    def needs_prior(self) -> bool:
        """True if a method that may be tried needs the prior."""
        return self.picture.method == "auto" or PICTURE_METHODS[self.picture.method].needs_prior


class StudyRun(RunConfig, tag="study", frozen=True):
    """Reproduce the published study in separate runs, and report the results next to the published numbers."""

    experiment: ClassVar[str] = "dipddpm.core.experiments.study:StudyExperiment"
    starts_others: ClassVar[bool] = True

    study: StudyConfig = StudyConfig()
    explanation: ExplanationConfig = ExplanationConfig()
    prior: HybridPriorConfig = HybridPriorConfig()
    restore: RestoreConfig = RestoreConfig()

    def __post_init__(self) -> None:
        try:
            ImagesConfig(indices=self.study.images)
        except ValueError as error:
            raise ValueError(f"study.images: {error}") from None

    @property
    def method(self) -> str:
        """`published` if the settings are the published ones, else `shortened`."""
        published = (StudyConfig(full=self.study.full), DataConfig(directory=self.data.directory))
        return "published" if (self.study, self.data) == published else "shortened"


AnyRun: TypeAlias = (
    DipRun | DdpmRun | HybridRun | RestoreRun | AccelerationRun | MapRun | ImageRun | ExplanationRun | StudyRun
)
KINDS: dict[str, type[RunConfig]] = by_tag(AnyRun)


def experiment_path(config: RunConfig) -> str:
    """Return the import path of the class that runs this config."""
    return config.hybrid.experiment if isinstance(config, HybridRun) else config.experiment


def lower_memory(config: AnyRun) -> str:  # noqa: PLR0911 - one for each kind of run
    """Return a sentence that says which option to change so that the run needs about half its peak memory."""
    match config:
        case DipRun():
            together = min(config.dip.batch or config.images.count, config.images.count)
            return _halved("dip.batch", together) or _halved("dip.channels", config.dip.channels) or _SMALLER
        case HybridRun() if not config.trains and not config.hybrid.learns:
            count = config.images.count
            return f"Restore {count // 2} images at a time instead of {count}." if count > 1 else _SMALLER
        case DdpmRun() | HybridRun():
            return _halved("ddpm.batch_size", config.ddpm.batch_size) or _SMALLER
        case RestoreRun():
            return _halved("restore.images", config.restore.images) or _SMALLER
        case ImageRun():
            return _halved("picture.tile", config.picture.tile or 256, least=32)
        case ExplanationRun():
            return _halved("explanation.train_images", config.explanation.train_images, least=40) or _SMALLER
        case StudyRun():
            return "See the run of the stage that the study had reached: it says which option to lower."


_SMALLER = "Choose a smaller network."


def _halved(option: str, value: int, least: int = 1) -> str:
    lower = max(value // 2, least)
    return f"Lower {option} from {value} to {lower}." if lower < value else ""
