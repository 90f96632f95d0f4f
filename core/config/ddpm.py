"""Options of the diffusion model: network, noise schedule, training and sampling; and the size of the U-Net."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import (
    CompileMode,
    Natural,
    NonNegative,
    Positive,
    PositiveFloat,
    Precision,
    Section,
    Share,
)

Objective: TypeAlias = Literal["eps", "x0", "v"]
Weighting: TypeAlias = Literal["plain", "eps", "min-snr"]
SamplerName: TypeAlias = Literal["ancestral", "ddim", "dpm++", "heun"]
Variance: TypeAlias = Literal["beta", "posterior"]

MIN_EVALUATED = 128
"""Samples whose quality can be measured at least; see `dipddpm.core.metrics.samples.distances`."""


class DdpmConfig(Section, frozen=True):
    """A network trained to undo noise at each timestep (Ho et al., NeurIPS 2020)."""

    network: Annotated[Literal["tutorial", "unet"], "the network: that of the published baseline, or ours"] = "tutorial"
    timesteps: Annotated[int, Meta(ge=2, le=10_000), "length T of the forward process"] = 1000
    schedule: Annotated[Literal["linear", "cosine", "sigmoid"], "how the noise grows with t"] = "linear"
    beta_start: Annotated[float, Meta(gt=0, lt=1), "first beta of the linear schedule"] = 1e-4
    beta_end: Annotated[float, Meta(gt=0, lt=1), "last beta of the linear schedule"] = 0.02
    zero_terminal_snr: Annotated[bool, "rescale the schedule so that it ends in pure noise (not with eps)"] = False
    objective: Annotated[Objective, "what the network predicts"] = "eps"
    weighting: Annotated[
        Weighting, "of the error over t: as the objective has it, as for eps, or capped where noise is low"
    ] = "plain"
    conditional: Annotated[bool, "learn the classes too, so that samples can be asked for (unet)"] = False
    label_dropout: Annotated[Share, "share of labels left out in training, which guidance needs (conditional)"] = 0.1
    epochs: Annotated[Positive, "passes over the training images"] = 20
    batch_size: Annotated[Positive, "images in one optimiser step"] = 128
    lr: Annotated[PositiveFloat, "Adam's learning rate, the highest where it changes"] = 1e-3
    warmup: Annotated[Natural, "steps in which the learning rate grows from 0"] = 0
    decay: Annotated[Literal["none", "linear", "cosine"], "how the learning rate falls to 0 until the end"] = "none"
    beta2: Annotated[Share, "Adam's memory of squared gradients"] = 0.999
    clip: Annotated[NonNegative, "largest norm of the gradient; 0: any"] = 0.0
    stratified: Annotated[bool, "draw the timesteps of a batch evenly spread, which makes its loss less noisy"] = False
    ema: Annotated[Share, "decay of the average of the weights, which is then sampled from and kept; 0: none"] = 0.0
    precision: Annotated[Precision, "in which the network computes in training (autocast)"] = "float32"
    compile: Annotated[bool, "torch.compile the network for training"] = False
    compile_mode: Annotated[
        CompileMode, "what is compiled for: with CUDA graphs (GPU), and with kernels tried out beforehand"
    ] = "default"
    hold_out: Annotated[
        bool,
        "keep the last 5,000 training images (of small sets a tenth) to select the best model on; "
        "else train on all, and the best is the epoch of the lowest training loss, as published",
    ] = False
    samples: Annotated[int, Meta(ge=0, le=4096), "images sampled at the end of the run"] = 16
    evaluate: Annotated[int, Meta(ge=0, le=65536), "samples whose quality is measured at the end (28x28); 0: none"] = 0
    sample_every: Annotated[Natural, "epochs between two looks at samples, from the same noise each time; 0: none"] = 0
    sampler: Annotated[SamplerName, "how samples are made"] = "ancestral"
    sample_steps: Annotated[int, Meta(ge=0, le=10_000), "steps of the sampler; 0: all timesteps"] = 0
    eta: Annotated[float, Meta(ge=0, le=1), "how much noise is drawn anew on the way (ddim)"] = 0.0
    variance: Annotated[
        Variance, "of the noise added in each step: beta_t, as published, or that of the posterior (ancestral)"
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
        Meta(pattern=r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,5}\Z"),
        "channels of each level, from the finest down; each level has half the sides of the one before",
    ] = "64,96"
    blocks: Annotated[int, Meta(ge=1, le=16), "residual blocks of each level, on the way down and up"] = 1
    attention: Annotated[int, Meta(ge=0, le=6), "how many of the lowest levels have self-attention"] = 1
    patch: Annotated[int, Meta(ge=1, le=8), "side of the patches that the finest level works on"] = 2
    dropout: Annotated[Share, "share of the features left out in training"] = 0.0

    def widths(self) -> list[int]:
        """The channels as numbers."""
        return [int(part) for part in self.channels.split(",")]
