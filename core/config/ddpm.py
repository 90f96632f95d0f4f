"""Options of the diffusion model: network, noise schedule, training and sampling."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from core.config.section import Positive, PositiveFloat, Section

Variance: TypeAlias = Literal["beta", "posterior"]


class DdpmConfig(Section, frozen=True):
    """A network trained to predict eps at each timestep (Ho et al., NeurIPS 2020)."""

    network: Annotated[Literal["tutorial"], Meta(description="the network that predicts the noise")] = "tutorial"
    timesteps: Annotated[int, Meta(ge=2, le=10_000, description="length T of the forward process")] = 1000
    schedule: Annotated[Literal["linear"], Meta(description="how beta grows with t")] = "linear"
    beta_start: Annotated[float, Meta(gt=0, lt=1, description="first beta of the linear schedule")] = 1e-4
    beta_end: Annotated[float, Meta(gt=0, lt=1, description="last beta of the linear schedule")] = 0.02
    epochs: Annotated[Positive, Meta(description="passes over the training images")] = 20
    batch_size: Annotated[Positive, Meta(description="images in one optimiser step")] = 128
    lr: Annotated[PositiveFloat, Meta(description="Adam's learning rate")] = 1e-3
    hold_out: Annotated[
        bool,
        Meta(
            description="keep the last 5,000 training images (of small sets a tenth) to select the best model on; "
            "else train on all, and the best is the epoch of the lowest training loss, as published"
        ),
    ] = False
    samples: Annotated[int, Meta(ge=0, le=4096, description="images sampled at the end of the run")] = 16
    variance: Annotated[
        Variance,
        Meta(description="of the noise added in each sampling step: beta_t, as published, or that of the posterior"),
    ] = "beta"

    def __post_init__(self) -> None:
        if self.beta_start > self.beta_end:
            raise ValueError("beta_start must not exceed beta_end")
