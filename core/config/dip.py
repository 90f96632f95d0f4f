"""Options of the Deep Image Prior: its network, its optimiser, when it stops, and how often it is looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dipddpm.core.config.base import CompileMode, Natural, NonNegative, Positive, PositiveFloat, Precision, Share
from dipddpm.core.config.tasks import RestorerOptions


class DipConfig(RestorerOptions, frozen=True):
    """An hourglass fitted to each degraded image from a fixed random input (Ulyanov et al., CVPR 2018)."""

    iterations: Annotated[Positive, "optimiser steps on each image, at most"] = 1000
    network: Annotated[Literal["skip", "decoder"], "the untrained network: skip hourglass or deep decoder"] = "skip"
    scales: Annotated[int, Meta(ge=0, le=8), "times the image is halved at most; never below 3 pixels a side"] = 3
    channels: Annotated[Positive, "feature maps at every scale"] = 32
    skip_channels: Annotated[Natural, "feature maps that bypass each scale (skip)"] = 4
    upsampling: Annotated[Literal["bilinear", "nearest"], "how features are enlarged on the way up"] = "nearest"
    input_channels: Annotated[Positive, "channels of the random input z"] = 32
    input_noise: Annotated[NonNegative, "std of fresh Gaussian noise on z at each step"] = 0.05
    lr: Annotated[PositiveFloat, "Adam's learning rate"] = 0.02
    average: Annotated[Share, "weight of the past in the running average of outputs; 0 turns it off"] = 0.99
    sgld: Annotated[NonNegative, "std of noise on the weights at each step, in learning rates; 0: no Langevin"] = 0.0
    backtrack: Annotated[NonNegative, "fall of the fit in dB that brings its last good state back; 0: never"] = 5.0
    stop: Annotated[
        Literal["auto", "discrepancy", "variance", "held-out", "never"],
        "rule that picks the image without the truth; auto: discrepancy where the noise has a level "
        "(estimated if it is not given), held-out for impulses, else variance; never: the last image",
    ] = "auto"
    discrepancy: Annotated[PositiveFloat, "residual at which a fit stops, in shares of what noise alone leaves"] = 0.9
    window: Annotated[int, Meta(ge=2), "outputs in the moving variance"] = 100
    patience: Annotated[Positive, "iterations without a better score before a fit stops (variance, held-out)"] = 200
    held_out: Annotated[float, Meta(gt=0, lt=1), "share of the measurements that the fit never sees (held-out)"] = 0.1
    run_on: Annotated[bool, "go on to the last iteration when every image has stopped, to see the fall"] = False
    precision: Annotated[Precision, "in which the network computes (autocast)"] = "float32"
    compile: Annotated[bool, "torch.compile the network: for many iterations on a GPU"] = False
    compile_mode: Annotated[CompileMode, "what is compiled for: as in ddpm.compile_mode"] = "default"
    batch: Annotated[Natural, "images in one network; 0: as many as fit in memory"] = 0
    measure_every: Annotated[Positive, "iterations between two looks at loss, PSNR and SSIM"] = 10
    picture_every: Annotated[Natural, "iterations between two pictures; 0: only the last"] = 100
