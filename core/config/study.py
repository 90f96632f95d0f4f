"""Options of the study: how it is run, and how its explanation is measured."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from dipddpm.core.config.base import Positive, Section


class ExplanationConfig(Section, frozen=True):
    """What the experiments on the published hybrid are made with."""

    train_images: Annotated[
        int, Meta(ge=40, le=10_000), "training images that the small networks and filters learn from"
    ] = 640
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
    sample_steps: Annotated[
        int, Meta(ge=0, le=1000), "steps of the samples that DDPM and the hybrid end with; 0: all timesteps"
    ] = 0
    images: Annotated[
        str, Meta(pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*\Z"), "test images that DIP denoises, as 0-9 or 3,17"
    ] = "0-9"
    iterations: Annotated[Positive, "DIP's steps on each of them"] = 1000
