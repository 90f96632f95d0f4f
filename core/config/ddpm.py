"""Options of the diffusion model: network, noise schedule, training and sampling; and the size of the U-Net."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import CompileMode, Positive, PositiveFloat, Precision, Section

Objective: TypeAlias = Literal["eps", "x0", "v"]
Weighting: TypeAlias = Literal["plain", "eps", "min-snr"]
SamplerName: TypeAlias = Literal["ancestral", "ddim", "dpm++", "heun"]
Variance: TypeAlias = Literal["beta", "posterior"]
Share: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]

MIN_EVALUATED = 128
"""Samples whose quality can be measured at least; see `dipddpm.core.metrics.samples.distances`."""


class DdpmConfig(Section, frozen=True):
    """A network trained to undo noise at each timestep (Ho et al., NeurIPS 2020)."""

    network: Annotated[
        Literal["tutorial", "unet"], Meta(description="the network: that of the published baseline, or ours")
    ] = "tutorial"
    timesteps: Annotated[int, Meta(ge=2, le=10_000, description="length T of the forward process")] = 1000
    schedule: Annotated[Literal["linear", "cosine", "sigmoid"], Meta(description="how the noise grows with t")] = (
        "linear"
    )
    beta_start: Annotated[float, Meta(gt=0, lt=1, description="first beta of the linear schedule")] = 1e-4
    beta_end: Annotated[float, Meta(gt=0, lt=1, description="last beta of the linear schedule")] = 0.02
    zero_terminal_snr: Annotated[
        bool, Meta(description="rescale the schedule so that nothing of the image is left at the end (not with eps)")
    ] = False
    objective: Annotated[Objective, Meta(description="what the network predicts")] = "eps"
    weighting: Annotated[
        Weighting,
        Meta(description="of the error over t: as the objective has it, as for eps, or capped where noise is low"),
    ] = "plain"
    conditional: Annotated[bool, Meta(description="learn the classes too, so that samples can be asked for (unet)")] = (
        False
    )
    label_dropout: Annotated[
        Share, Meta(description="share of the labels left out in training, which guidance needs (conditional)")
    ] = 0.1
    epochs: Annotated[Positive, Meta(description="passes over the training images")] = 20
    batch_size: Annotated[Positive, Meta(description="images in one optimiser step")] = 128
    lr: Annotated[PositiveFloat, Meta(description="Adam's learning rate, the highest where it changes")] = 1e-3
    warmup: Annotated[int, Meta(ge=0, description="steps in which the learning rate grows from 0")] = 0
    decay: Annotated[
        Literal["none", "linear", "cosine"], Meta(description="how the learning rate falls to 0 until the end")
    ] = "none"
    beta2: Annotated[Share, Meta(description="Adam's memory of squared gradients")] = 0.999
    clip: Annotated[float, Meta(ge=0, description="largest norm of the gradient; 0: any")] = 0.0
    stratified: Annotated[
        bool, Meta(description="draw the timesteps of a batch evenly spread, which makes its loss less noisy")
    ] = False
    ema: Annotated[
        Share, Meta(description="decay of the average of the weights, which is then sampled from and kept; 0: none")
    ] = 0.0
    precision: Annotated[Precision, Meta(description="in which the network computes in training (autocast)")] = (
        "float32"
    )
    compile: Annotated[bool, Meta(description="torch.compile the network for training")] = False
    compile_mode: Annotated[
        CompileMode,
        Meta(description="what is compiled for: with CUDA graphs (GPU), and with kernels tried out beforehand"),
    ] = "default"
    hold_out: Annotated[
        bool,
        Meta(
            description="keep the last 5,000 training images (of small sets a tenth) to select the best model on; "
            "else train on all, and the best is the epoch of the lowest training loss, as published"
        ),
    ] = False
    samples: Annotated[int, Meta(ge=0, le=4096, description="images sampled at the end of the run")] = 16
    evaluate: Annotated[
        int,
        Meta(
            ge=0, le=65536, description="samples at the end whose quality is measured, where images are 28x28; 0: none"
        ),
    ] = 0
    sample_every: Annotated[
        int, Meta(ge=0, description="epochs between two looks at samples, from the same noise each time; 0: none")
    ] = 0
    sampler: Annotated[SamplerName, Meta(description="how samples are made")] = "ancestral"
    sample_steps: Annotated[int, Meta(ge=0, le=10_000, description="steps of the sampler; 0: all timesteps")] = 0
    eta: Annotated[float, Meta(ge=0, le=1, description="how much noise is drawn anew on the way (ddim)")] = 0.0
    variance: Annotated[
        Variance,
        Meta(description="of the noise added in each step: beta_t, as published, or that of the posterior (ancestral)"),
    ] = "beta"

    def __post_init__(self) -> None:
        if self.beta_start > self.beta_end:
            raise ValueError("beta_start must not exceed beta_end")
        if self.zero_terminal_snr and self.objective == "eps":
            raise ValueError("zero_terminal_snr needs the objective x0 or v: eps says nothing of pure noise")
        if self.conditional and self.network == "tutorial":
            raise ValueError("the tutorial network takes no classes; conditional needs the network unet")
        if 0 < self.evaluate < MIN_EVALUATED:
            raise ValueError(f"evaluate needs {MIN_EVALUATED} samples at least, or 0 for none")
        if self.sample_steps > self.timesteps:
            raise ValueError("sample_steps must not exceed timesteps")


class UNetConfig(Section, frozen=True):
    """How large the U-Net is; it plays a part where `ddpm.network` is unet."""

    channels: Annotated[
        str,
        Meta(
            pattern=r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,5}\Z",
            description="channels of each level, from the finest down; each level has half the sides of the one before",
        ),
    ] = "64,96"
    blocks: Annotated[int, Meta(ge=1, le=16, description="residual blocks of each level, on the way down and up")] = 1
    attention: Annotated[int, Meta(ge=0, le=6, description="how many of the lowest levels have self-attention")] = 1
    patch: Annotated[int, Meta(ge=1, le=8, description="side of the patches that the finest level works on")] = 2
    dropout: Annotated[float, Meta(ge=0, lt=1, description="share of the features left out in training")] = 0.0

    def widths(self) -> list[int]:
        """The channels as numbers."""
        return [int(part) for part in self.channels.split(",")]
