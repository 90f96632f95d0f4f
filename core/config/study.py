"""Options of the head-to-head, of the study, and of the measurements that explain its hybrid."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import Indices, Positive, Section
from dipddpm.core.config.hybrid import HYBRIDS
from dipddpm.core.config.tasks import parse_task
from dipddpm.core.errors import UserError, suggest

SetName: TypeAlias = Literal["fashionmnist", "fashion-mini", "glyphs", "patches", "leaves"]
TASKS = (
    "denoise:sigma=25",
    "denoise:sigma=50,blind=true",
    "denoise:noise=salt-and-pepper,hit=0.1",
    "inpaint:missing=0.7,sigma=5",
    "superres:factor=4",
    "deblur:width=1.5,sigma=2",
)

CONDITIONED = "conditioned"
"""The hybrid that is trained for one task."""
TRAIN_ONE = "--conditioned RUN, a run of dipddpm run hybrid --preset conditioned --task TASK"


class RestoreConfig(Section, frozen=True):
    """What is degraded, how, and which hybrids are to restore it; the controls are always there."""

    tasks: Annotated[tuple[str, ...], Meta(min_length=1), "degradations, as denoise:sigma=25"] = TASKS
    sets: Annotated[
        tuple[SetName, ...],
        Meta(min_length=1),
        "what the images are: test images of fashionmnist or fashion-mini, glyphs, patches, leaves",
    ] = ("fashionmnist", "glyphs", "patches", "leaves")
    methods: Annotated[tuple[str, ...], "the hybrids that are compared; none named: all of them"] = ()
    conditioned: Annotated[
        tuple[str, ...],
        "folders of finished runs of hybrid conditioned: each one's network restores the task that it "
        "was trained for; one that sees A+ y is the control of one that sees DIP's result",
    ] = ()
    images: Annotated[Positive, Meta(le=10_000), "images of each set"] = 50
    seeds: Annotated[Positive, Meta(le=100), "times that each image is degraded and restored anew"] = 3

    def __post_init__(self) -> None:
        for task in self.tasks:
            parse_task(task)
        for name in self.methods:
            if name == CONDITIONED and not self.conditioned:
                raise UserError(f"{name} needs a network that is trained for the task.", f"Give it: {TRAIN_ONE}.")
            if name != CONDITIONED and name not in restoring_methods():
                raise UserError(f"There is no hybrid {name!r} that restores.", suggest(name, restoring_methods()))

    @property
    def degradations(self) -> int:
        """How many times a set of images is degraded, to be restored by every method."""
        return len(self.tasks) * len(self.sets) * self.seeds

    @property
    def compared(self) -> tuple[str, ...]:
        """The hybrids that are compared and need nothing that is trained for a task."""
        return tuple(name for name in self.methods if name != CONDITIONED) if self.methods else restoring_methods()


def restoring_methods() -> tuple[str, ...]:
    """The hybrids that restore images with nothing but a prior."""
    return tuple(name for name, options in HYBRIDS.items() if options.restorer_path)


class ExplanationConfig(Section, frozen=True):
    """What the experiments on the published hybrid are made with."""

    train_images: Annotated[int, Meta(ge=40, le=10_000), "training images of the small networks and filters"] = 640
    test_images: Annotated[int, Meta(ge=20, le=5_000), "test images that all is measured on"] = 200
    epochs: Annotated[Positive, "passes of each small network over its images"] = 6
    seeds: Annotated[int, Meta(ge=2, le=20), "networks where their spread is asked for, from as many random starts"] = 3
    steps: Annotated[
        str, Meta(pattern=r"^0(,[1-9]\d{0,4}){3,15}\Z"), "numbers k of DIP steps on each xt, from 0 upwards"
    ] = "0,10,20,50,100,200,400"
    fixed: Annotated[Positive, "the k of what is measured at one k; one of the steps"] = 50

    def __post_init__(self) -> None:
        counts = self.counts()
        if counts != sorted(set(counts)):
            raise ValueError("steps must count upwards, as 0,5,10,20")
        if self.fixed not in counts:
            raise ValueError("fixed must be one of the steps")

    def counts(self) -> list[int]:
        """The numbers of steps as numbers."""
        return [int(part) for part in self.steps.split(",")]


class StudyConfig(Section, frozen=True):
    """The published study, and what it lacks."""

    epochs: Annotated[Positive, "passes over the training images, of DDPM and of the hybrid"] = 20
    full: Annotated[bool, "take the hybrid on to 100 epochs too, as the study did"] = False
    sample_steps: Annotated[int, Meta(ge=0, le=1000), "steps of the final samples of a stage; 0: all timesteps"] = 0
    images: Annotated[Indices, "test images that DIP denoises, as 0-9 or 3,17"] = "0-9"
    iterations: Annotated[Positive, "DIP's steps on each of them"] = 1000
