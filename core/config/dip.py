"""Options of the Deep Image Prior: its network, its optimiser, and how often it is looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from core.config.section import Positive, PositiveFloat, Section


class DipConfig(Section, frozen=True):
    """An hourglass fitted to each degraded image from a fixed random input (Ulyanov et al., CVPR 2018)."""

    iterations: Annotated[Positive, Meta(description="optimiser steps on each image")] = 600
    network: Annotated[Literal["skip"], Meta(description="the untrained network whose structure is the prior")] = "skip"
    scales: Annotated[
        int,
        Meta(ge=0, le=8, description="times the image is halved at most; never below 3 pixels a side"),
    ] = 3
    channels: Annotated[Positive, Meta(description="feature maps at every scale")] = 64
    skip_channels: Annotated[int, Meta(ge=0, description="feature maps that bypass each scale")] = 4
    upsampling: Annotated[
        Literal["bilinear", "nearest"], Meta(description="how features are enlarged on the way up")
    ] = "bilinear"
    input_channels: Annotated[Positive, Meta(description="channels of the random input z")] = 32
    input_noise: Annotated[float, Meta(ge=0, description="std of fresh Gaussian noise on z at each step")] = 1 / 30
    lr: Annotated[PositiveFloat, Meta(description="Adam's learning rate")] = 0.01
    average: Annotated[
        float, Meta(ge=0, lt=1, description="weight of the past in the running average of outputs; 0 turns it off")
    ] = 0.99
    measure_every: Annotated[Positive, Meta(description="iterations between two looks at loss and PSNR")] = 10
