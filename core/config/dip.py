"""Options of the Deep Image Prior: its network, its optimiser, its stopping rule, and how often it is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from dipddpm.core.config.base import CompileMode, Natural, NonNegative, Positive, PositiveFloat, Precision, Share
from dipddpm.core.config.tasks import RestorerOptions


class DipConfig(RestorerOptions, frozen=True):
    """An hourglass fitted to each degraded image from a fixed random input (Ulyanov et al., CVPR 2018)."""

    iterations: Annotated[Positive, "optimiser steps on each image, at most"] = 1000
    network: Annotated[Literal["skip", "decoder"], "the untrained network: skip hourglass or deep decoder"] = "skip"
    scales: Annotated[int, Meta(ge=0, le=8), "largest number of halvings of the image; no side gets below 3 pixels"] = 3
    channels: Annotated[Positive, "feature maps at every scale"] = 32
    skip_channels: Annotated[Natural, "feature maps that bypass each scale (skip); 0: none"] = 4
    upsampling: Annotated[Literal["bilinear", "nearest"], "upsampling of the features between scales"] = "nearest"
    input_channels: Annotated[Positive, "channels of the random input z"] = 32
    input_noise: Annotated[NonNegative, "std of fresh Gaussian noise on z at each step; 0: none"] = 0.05
    lr: Annotated[PositiveFloat, "Adam's learning rate"] = 0.02
    average: Annotated[Share, "weight of the past in the running average of outputs; 0: no average"] = 0.99
    sgld: Annotated[NonNegative, "std of Langevin noise on the weights at each step, in multiples of lr; 0: none"] = 0.0
    backtrack: Annotated[NonNegative, "rise of the loss in dB that returns a fit to its last good state; 0: never"] = (
        5.0
    )
    stop: Annotated[
        Literal["auto", "discrepancy", "variance", "held-out", "never"],
        "truth-free stopping rule; auto: discrepancy for noise with a level (estimated if not given), "
        "held-out for impulses, else variance; never: the last iteration",
    ] = "auto"
    discrepancy: Annotated[
        PositiveFloat, "mean squared residual at which a fit stops, as a multiple of the noise variance (discrepancy)"
    ] = 0.9
    window: Annotated[int, Meta(ge=2), "number of outputs in the moving variance (variance)"] = 100
    patience: Annotated[Positive, "iterations without a better score before a fit stops (variance, held-out)"] = 200
    held_out: Annotated[float, Meta(gt=0, lt=1), "share of the measurements held out from the fit (held-out)"] = 0.1
    run_on: Annotated[bool, "whether to run all iterations after every image has stopped, to show overfitting"] = False
    precision: Annotated[Precision, "precision of the network's arithmetic (autocast)"] = "float32"
    compile: Annotated[bool, "whether to compile the network, for many iterations on a GPU (torch.compile)"] = False
    compile_mode: Annotated[CompileMode, "mode of torch.compile, as in ddpm.compile_mode"] = "default"
    batch: Annotated[Natural, "number of images fitted at once; 0: as many as fit in memory"] = 0
    measure_every: Annotated[Positive, "iterations between two measurements of loss, PSNR and SSIM"] = 10
    picture_every: Annotated[Natural, "iterations between two pictures; 0: only the last one"] = 100
