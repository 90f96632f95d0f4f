"""Options of the diffusion model: network, noise schedule, training and sampling; and the size of the U-Net."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import (
    CompileMode,
    GreyLevels,
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
SamplerName: TypeAlias = Literal["ancestral", "ddim", "dpm++", "heun", "restart"]
Variance: TypeAlias = Literal["beta", "posterior"]

USUAL_ETA: dict[SamplerName, float] = {"dpm++": 1.0}
"""The share of fresh noise where none is given; 0 for other samplers. `docs/ddpm.md` has the measured distances."""
MIN_EVALUATED = 128
"""Smallest number of samples whose quality can be measured; see `dipddpm.core.metrics.samples.distances`."""


class DdpmConfig(Section, frozen=True):
    """A network trained to remove the noise at each timestep (Ho et al., NeurIPS 2020)."""

    network: Annotated[Literal["tutorial", "unet"], "the network: the published baseline's, or our U-Net"] = "tutorial"
    timesteps: Annotated[int, Meta(ge=2, le=10_000), "length T of the forward process"] = 1000
    schedule: Annotated[Literal["linear", "cosine", "sigmoid"], "schedule of the noise over t"] = "linear"
    beta_start: Annotated[float, Meta(gt=0, lt=1), "first beta of the linear schedule"] = 1e-4
    beta_end: Annotated[float, Meta(gt=0, lt=1), "last beta of the linear schedule"] = 0.02
    zero_terminal_snr: Annotated[bool, "whether to rescale the schedule to end in pure noise (not with eps)"] = False
    objective: Annotated[Objective, "the network's prediction target"] = "eps"
    weighting: Annotated[
        Weighting, "weights of the error over t: equal, equivalent to the loss on eps, or capped at low noise"
    ] = "plain"
    conditional: Annotated[bool, "whether to learn the classes too, to sample by class (unet)"] = False
    label_dropout: Annotated[Share, "share of labels dropped in training, for guidance (conditional)"] = 0.1
    epochs: Annotated[Positive, "passes over the training images"] = 20
    passes: Annotated[
        int, Meta(ge=1, le=10_000), "passes over the training images that count as one epoch; more for few images"
    ] = 1
    batch_size: Annotated[Positive, "images in one optimiser step"] = 128
    lr: Annotated[PositiveFloat, "Adam's highest learning rate"] = 1e-3
    warmup: Annotated[Natural, "steps over which the learning rate rises from 0; 0: none"] = 0
    decay: Annotated[Literal["none", "linear", "cosine"], "decay of the learning rate to 0 at the end"] = "none"
    beta2: Annotated[Share, "Adam's beta2, the decay of its mean of squared gradients"] = 0.999
    clip: Annotated[NonNegative, "largest gradient norm; 0: no clipping"] = 0.0
    stratified: Annotated[bool, "whether to spread the timesteps of a batch evenly, for a less noisy loss"] = False
    ema: Annotated[Share, "decay of the running average of weights, used for samples and the best model; 0: none"] = 0.0
    precision: Annotated[Precision, "precision of the network's arithmetic in training (autocast)"] = "float32"
    compile: Annotated[bool, "whether to compile the network for training (torch.compile)"] = False
    compile_mode: Annotated[
        CompileMode, "mode of torch.compile: default, with CUDA graphs (GPU), or with autotuned kernels too"
    ] = "default"
    hold_out: Annotated[
        bool,
        "whether to hold out the last 5,000 training images (of small sets a tenth) to select the best model; "
        "otherwise the run trains on all images, and the epoch of lowest training loss is the best, as published",
    ] = False
    samples: Annotated[int, Meta(ge=0, le=4096), "number of images sampled at the end of the run; 0: none"] = 16
    evaluate: Annotated[
        int, Meta(ge=0, le=65536), "number of samples for measuring quality at the end (28x28); 0: none"
    ] = 0
    sample_every: Annotated[Natural, "epochs between two sets of samples, drawn from the same noise; 0: none"] = 0
    sampler: Annotated[SamplerName, "sampler for the samples"] = "ancestral"
    sample_steps: Annotated[int, Meta(ge=0, le=10_000), "steps of the sampler; 0: all timesteps"] = 0
    eta: Annotated[
        float, Meta(ge=0, le=1), "share of fresh noise in each sampler step; 0: deterministic (ddim, dpm++)"
    ] = 0.0
    restarts: Annotated[int, Meta(ge=0, le=10_000), "times that noise is added again and removed (restart)"] = 10
    restart_steps: Annotated[int, Meta(ge=1, le=10_000), "steps of Heun's method in each restart (restart)"] = 2
    restart_low: Annotated[GreyLevels, "noise at which xt is restarted, in grey levels (restart)"] = 8.0
    restart_high: Annotated[GreyLevels, "noise up to which it is added, in grey levels (restart)"] = 38.0
    variance: Annotated[
        Variance, "variance of the noise added in each step: beta_t, as published, or the posterior's (ancestral)"
    ] = "beta"

    def __post_init__(self) -> None:
        if self.beta_start > self.beta_end:
            raise ValueError("beta_start must not exceed beta_end")
        if self.zero_terminal_snr and self.objective == "eps":
            raise ValueError("zero_terminal_snr needs the objective x0 or v: in pure noise, eps doesn't determine x0")
        if self.conditional and self.network == "tutorial":
            raise ValueError("conditional needs the network unet: the tutorial network takes no classes")
        if 0 < self.evaluate < MIN_EVALUATED:
            raise ValueError(f"evaluate must be at least {MIN_EVALUATED}, or 0 for no evaluation")
        if self.restart_low >= self.restart_high:
            raise ValueError("restart_low must be below restart_high")
        if self.sample_steps > self.timesteps:
            raise ValueError("sample_steps must not exceed timesteps")


class UNetConfig(Section, frozen=True):
    """The size of the U-Net; these options have an effect only if `ddpm.network` is unet."""

    channels: Annotated[
        str,
        Meta(pattern=r"^[1-9]\d{0,3}(,[1-9]\d{0,3}){0,5}\Z"),
        "channels of each level, from the finest down, such as 64,96; each level halves the resolution",
    ] = "64,96"
    blocks: Annotated[int, Meta(ge=1, le=16), "residual blocks per level, on the way down and on the way up"] = 1
    attention: Annotated[int, Meta(ge=0, le=6), "number of coarsest levels with self-attention; 0: none"] = 1
    patch: Annotated[int, Meta(ge=1, le=8), "side in pixels of the patches that the finest level processes"] = 2
    dropout: Annotated[Share, "share of the features dropped in training; 0: none"] = 0.0

    def widths(self) -> list[int]:
        """Return the channels of each level as numbers."""
        return [int(part) for part in self.channels.split(",")]
