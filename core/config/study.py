"""Options of the head-to-head, of the study, and of the measurements that explain the published hybrid."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import Indices, Natural, Positive, Section
from dipddpm.core.config.hybrid import HYBRIDS
from dipddpm.core.config.tasks import parse_task
from dipddpm.core.errors import UserError, suggest

SetName: TypeAlias = Literal["fashionmnist", "fashion-mini", "kmnist", "glyphs", "patches", "leaves"]
StartName: TypeAlias = Literal["noise", "lle", "pinv", "classic", "dip"]
TASKS = (
    "denoise:sigma=25",
    "denoise:sigma=50,blind=true",
    "denoise:noise=salt-and-pepper,hit=0.1",
    "inpaint:missing=0.7,sigma=5",
    "superres:factor=4",
    "deblur:width=1.5,sigma=2",
)

CONDITIONED = "conditioned"
"""The name of the hybrid that is trained for one task."""
TRAIN_ONE = "--conditioned RUN, a run of dipddpm run hybrid --preset conditioned --task TASK"


class RestoreConfig(Section, frozen=True):
    """The images, the degradations and the hybrids of a head-to-head, and whether it includes the controls."""

    tasks: Annotated[tuple[str, ...], Meta(min_length=1), "degradations, such as denoise:sigma=25"] = TASKS
    sets: Annotated[
        tuple[SetName, ...],
        Meta(min_length=1),
        "sets of images: the test images of fashionmnist, fashion-mini or kmnist, glyphs, patches or leaves",
    ] = ("fashionmnist", "glyphs", "patches", "leaves")
    methods: Annotated[tuple[str, ...], "hybrids to compare; empty: all that aren't experimental"] = ()
    controls: Annotated[
        bool, "whether to score the controls too: A+ y, a classic filter, one DIP fit and samplers with few steps"
    ] = True
    conditioned: Annotated[
        tuple[str, ...],
        "folders of finished runs of hybrid conditioned; each network restores the task it was trained for, "
        "and networks with the input A+ y are controls for those with DIP's result",
    ] = ()
    images: Annotated[Positive, Meta(le=10_000), "number of images in each set"] = 50
    first: Annotated[Natural, Meta(le=100_000), "index of the first of these images in each set"] = 0
    earlier: Annotated[
        str, "folder of a finished head-to-head with the same options, whose board these images are added to; see first"
    ] = ""
    seeds: Annotated[Positive, Meta(le=100), "number of times each image is degraded and restored"] = 3

    def __post_init__(self) -> None:
        for task in self.tasks:
            parse_task(task)
        for name in self.methods:
            if name == CONDITIONED and not self.conditioned:
                raise UserError(f"{name} needs a network that is trained for the task.", f"Add {TRAIN_ONE}.")
            if name != CONDITIONED and name not in restoring_methods():
                raise UserError(f"There is no hybrid {name!r} that restores.", suggest(name, restoring_methods()))

    @property
    def degradations(self) -> int:
        """The number of degraded sets; every method restores each of them."""
        return len(self.tasks) * len(self.sets) * self.seeds

    @property
    def compared(self) -> tuple[str, ...]:
        """The hybrids to compare that need no network trained for a task."""
        if not self.methods:
            return restoring_methods(experimental=False)
        return tuple(name for name in self.methods if name != CONDITIONED)


class AccelerationImages(RestoreConfig, frozen=True):
    """The images, degradations and hybrids of a run that compares starts of diffusion samplers."""

    tasks: Annotated[tuple[str, ...], Meta(min_length=1), "degradations, such as denoise:sigma=25"] = (
        "inpaint:missing=0.7,sigma=5",
        "superres:factor=4",
    )
    sets: Annotated[
        tuple[SetName, ...],
        Meta(min_length=1),
        "sets of images: the test images of fashionmnist, fashion-mini or kmnist, glyphs, patches or leaves",
    ] = ("fashionmnist", "patches")
    methods: Annotated[tuple[str, ...], "hybrids to compare with the starts; empty: all that aren't experimental"] = (
        "guided",
        "sequential",
        "self-diffusion",
    )
    controls: Annotated[
        bool, "whether to compare the wrong uses of a start too, step by step from the published one to the right one"
    ] = True
    seeds: Annotated[Positive, Meta(le=100), "number of times each image is degraded and restored"] = 1


class AccelerationConfig(Section, frozen=True):
    """The starts of the samplers, and how many steps and samples each of them gets."""

    starts: Annotated[
        tuple[StartName, ...],
        Meta(min_length=1),
        "starts: noise, lle (noise, and each step extrapolates), pinv (A+ y), classic (kriging, bicubic, ...), dip",
    ] = ("noise", "lle", "pinv", "classic", "dip")
    samplers: Annotated[
        tuple[Literal["ddnm", "diffpir"], ...], Meta(min_length=1), "samplers that agree with the measurement"
    ] = ("ddnm", "diffpir")
    nfe: Annotated[
        str,
        Meta(pattern=r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,11}\Z"),
        "evaluations of the network for each sample, increasing",
    ] = "3,5,10,20,50,100"
    samples: Annotated[
        str, Meta(pattern=r"^[1-9]\d{0,2}(,[1-9]\d{0,2}){0,3}\Z"), "numbers of samples that are averaged, increasing"
    ] = "1,8"
    lle_images: Annotated[
        int, Meta(ge=2, le=5_000), "number of training images that the coefficients of lle are learned on"
    ] = 50

    def __post_init__(self) -> None:
        for name, counts in (("nfe", self.steps()), ("samples", self.counts())):
            if counts != sorted(set(counts)):
                raise ValueError(f"{name} must increase, such as {'3,5,10' if name == 'nfe' else '1,8'}")

    def steps(self) -> list[int]:
        """Return `nfe` as numbers."""
        return [int(part) for part in self.nfe.split(",")]

    def counts(self) -> list[int]:
        """Return `samples` as numbers."""
        return [int(part) for part in self.samples.split(",")]


class MapImages(RestoreConfig, frozen=True):
    """The images and degradations of a map of gains."""

    tasks: Annotated[tuple[str, ...], Meta(min_length=1), "degradations, such as denoise:sigma=25"] = (
        *(f"inpaint:missing={share},sigma=5" for share in (0.3, 0.5, 0.7, 0.9)),
        *(f"inpaint:box={side},sigma=5" for side in (8, 12, 16)),
        *(f"denoise:sigma={sigma}" for sigma in (5, 25, 50, 100)),
        "superres:factor=2",
        "superres:factor=4",
        "deblur:width=1.5,sigma=2",
    )
    methods: Annotated[tuple[str, ...], "hybrids to compare with their baselines"] = ("calibrated",)
    controls: Annotated[bool, "whether to score the controls too: A+ y and the classics"] = True
    images: Annotated[Positive, Meta(le=10_000), "number of images in each set"] = 12
    seeds: Annotated[Positive, Meta(le=100), "number of times each image is degraded and restored"] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.methods != ("calibrated",):
            raise ValueError("methods must be calibrated alone: a map shows the gains of one hybrid")


class MapConfig(Section, frozen=True):
    """How much work the hybrid of a map does; the baselines get as many seconds."""

    trial_samples: Annotated[Positive, "diffusion samples averaged in each fold, as hybrid.trial_samples"] = 2
    samples: Annotated[Positive, "final diffusion samples averaged, as hybrid.samples"] = 6


def restoring_methods(*, experimental: bool = True) -> tuple[str, ...]:
    """Return the hybrids that need at most a prior to restore images; without the experimental ones on demand."""
    return tuple(
        name
        for name, options in HYBRIDS.items()
        if options.restorer_path and (experimental or not options.experimental)
    )


class ExplanationConfig(Section, frozen=True):
    """The sizes of the experiments that explain the published hybrid."""

    train_images: Annotated[int, Meta(ge=40, le=10_000), "number of training images of the networks and filters"] = 640
    test_images: Annotated[int, Meta(ge=20, le=5_000), "number of test images for all measurements"] = 200
    epochs: Annotated[Positive, "passes of each network over its training images"] = 6
    seeds: Annotated[int, Meta(ge=2, le=20), "number of random initialisations where a spread is reported"] = 3
    steps: Annotated[
        str,
        Meta(pattern=r"^0(,[1-9]\d{0,4}){3,15}\Z"),
        "numbers k of DIP steps on each xt, increasing from 0: 0,5,10,20",
    ] = "0,10,20,50,100,200,400"
    fixed: Annotated[Positive, "the k of measurements at a single k; one of the steps"] = 50
    baseline_images: Annotated[Positive, "number of training images of the published network, if there are more"] = 2000
    baseline_epochs: Annotated[Positive, "passes of the published network over these images"] = 20
    baseline_samples: Annotated[int, Meta(ge=128, le=5_000), "number of its samples for measuring their quality"] = 200
    baseline_steps: Annotated[int, Meta(ge=2, le=1_000), "sampler steps of each of these samples"] = 100

    def __post_init__(self) -> None:
        counts = self.counts()
        if counts != sorted(set(counts)):
            raise ValueError("steps must increase, such as 0,5,10,20")
        if self.fixed not in counts:
            raise ValueError("fixed must be one of the steps")

    def counts(self) -> list[int]:
        """Return `steps` as numbers."""
        return [int(part) for part in self.steps.split(",")]


class StudyConfig(Section, frozen=True):
    """The stages of the published study."""

    epochs: Annotated[Positive, "passes over the training images, for DDPM and for the hybrid"] = 20
    full: Annotated[bool, "whether to train the hybrid for 100 epochs too, as the study did"] = False
    sample_steps: Annotated[
        int, Meta(ge=0, le=1000), "sampler steps of each stage's final samples; 0: all timesteps"
    ] = 0
    images: Annotated[
        Indices,
        "indices of the test images that DIP denoises, such as 0-9 or 3,17; by default fewer if there are fewer",
    ] = "0-9"
    iterations: Annotated[Positive, "number of DIP iterations on each image"] = 1000
