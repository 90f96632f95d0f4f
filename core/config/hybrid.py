"""Options of the hybrids, one struct per method; `restorer_path` is the import path of the method itself.

A method that does more than restore, such as training its own network, has its own `experiment`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta, field

from dipddpm.core.config.base import GreyLevels, Natural, NonNegative, Positive, PositiveFloat, Share, by_tag
from dipddpm.core.config.tasks import RestorerOptions


class HybridOptions(RestorerOptions, tag_field="method", frozen=True):
    """The attributes that every hybrid has: a summary for the help page, and the import paths of its code."""

    summary: ClassVar[str] = ""
    experiment: ClassVar[str] = "dipddpm.core.experiments.hybrid:HybridExperiment"
    restorer_path: ClassVar[str] = ""
    """The import path of a factory that makes a `core.methods.base.Restorer` from a case, a prior, these options and
    the DIP options. Empty for a method that restores nothing by itself."""
    needs_prior: ClassVar[bool] = True
    """True if the method needs a trained diffusion model."""
    uses_noise_level: ClassVar[bool] = True
    """True if the method is given the noise level, or estimates it."""
    experimental: ClassVar[bool] = False
    """True if simpler methods were better in the comparison of starts; docs/acceleration.md has the figures. Such a
    method is compared only where it is named."""
    learns: ClassVar[bool] = False
    """True if the method trains a network for `ddpm.epochs` epochs, from the prior's weights if it has a prior."""
    learns_prior: ClassVar[bool] = False
    """True if the network that the method trains samples by itself, so that other runs can take it as their prior."""


class Substitution(HybridOptions, tag="substitution", frozen=True):
    """The published hybrid: a DIP hourglass's output replaces the network's input xt; the target is still eps."""

    summary: ClassVar[str] = "the published form: DIP's output in place of the noised image"
    experiment: ClassVar[str] = "dipddpm.core.experiments.substitution:SubstitutionExperiment"

    reading: Annotated[
        Literal["frozen", "fresh", "warm"],
        "the hourglass's output: frozen: random weights applied to xt; fresh or warm: fitted to reproduce "
        "each batch of xt from a fixed z, starting from new weights or from the last batch's",
    ] = "frozen"
    steps: Annotated[Positive, "optimiser steps k of the hourglass on each batch (fresh and warm)"] = 10
    lr: Annotated[PositiveFloat, "the hourglass's learning rate (fresh and warm)"] = 0.01
    scales: Annotated[int, Meta(ge=0, le=8), "largest number of times the hourglass halves the image"] = 2
    channels: Annotated[Positive, "the hourglass's feature maps at every scale"] = 32
    skip_channels: Annotated[Natural, "feature maps that bypass each scale; 0: none"] = 0
    picture_every: Annotated[Positive, "epochs between two pictures of the network's input"] = 5


class Calibrated(HybridOptions, tag="calibrated", frozen=True):
    """A mean of DIP, diffusion and classics, weighted per image by how well each predicts held-out measurements."""

    summary: ClassVar[str] = "DIP, diffusion and classics, weighted by how well they predict held-out values"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.calibrated.method:CalibratedRestorer"

    hidden: Annotated[
        float, Meta(gt=0, le=0.5), "share of the measurements that each fold holds out to weight the candidates"
    ] = 0.12
    folds: Annotated[int, Meta(ge=2), "number of folds, which hold out different measurements"] = 2
    noise: Annotated[
        float,
        Meta(ge=0.01, le=100),
        "std of noise added to split the measurement in two, as a multiple of the std of its own noise (denoise; four "
        "times this for deblur)",
    ] = 0.35
    iterations: Annotated[Natural, "largest number of iterations of each DIP fit; 0: 60 to 200, by the task"] = 0
    pull: Annotated[NonNegative, "weight of the fits' penalty, as in guided"] = 0.03
    steps: Annotated[Natural, "steps of each diffusion sample, except for denoising; 0: the best number"] = 0
    trial_samples: Annotated[Positive, "number of samples averaged in each fold"] = 4
    samples: Annotated[Positive, "number of final samples averaged, from all measurements"] = 16
    restarts: Annotated[
        Natural, "number of final DIP fits of each image with DIP weight (superres: as many more as folds)"
    ] = 2
    least: Annotated[
        Share, "weight below which a candidate is left out for an image, as a share of its largest weight (superres: 1)"
    ] = 0.3

    def __post_init__(self) -> None:
        if self.hidden * self.folds > 1:
            raise ValueError(f"{self.folds} folds that each hold out {self.hidden:g} of the values exceed all of them")


class Guided(HybridOptions, tag="guided", frozen=True):
    """DIP regularised by the diffusion prior: its output is noised, denoised, and pulled to the denoised image."""

    summary: ClassVar[str] = "DIP with a penalty that pulls its output to the diffusion network's estimate"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.guided:GuidedRestorer"

    weight: Annotated[NonNegative, "weight of the penalty, relative to the data error; 0: DIP alone"] = 0.1
    start: Annotated[GreyLevels, "first noise level on the output, in 8-bit grey levels"] = 150.0
    floor: Annotated[GreyLevels, "last noise level on the output, in 8-bit grey levels; at least the measurement's"] = (
        25.0
    )
    fall: Annotated[Positive, "iterations over which the noise level falls from start to floor"] = 100
    every: Annotated[Positive, "iterations between two evaluations of the diffusion network"] = 4


class NoiseFit(HybridOptions, tag="noise-fit", frozen=True):
    """The diffusion network as a deep image prior: the noise that a few DDIM steps begin at is fitted by Adam.

    The defaults come from inpainting with 70% of the pixels missing and noise of 5 grey levels, of three images each of
    the training images from number 55,400 on and of glyphs, patches and leaves from 100,200 on. 200 iterations of rate
    0.05 were as good as 500 of rate 0.03; 500 of rate 0.01, the paper's, were 0.4 dB worse. The mean of three fits was
    1.1 dB better than one, and 0.4 dB worse with one step at T / 2. Noise that begins at 0 and is not on a sphere was
    0.3 dB better for single fits, but 0.2 dB worse for the mean of three.
    """

    summary: ClassVar[str] = "experimental: the noise that the diffusion network turns into an image, fitted to y"
    experimental: ClassVar[bool] = True
    restorer_path: ClassVar[str] = "dipddpm.core.methods.noise_fit:NoiseFitRestorer"
    uses_noise_level: ClassVar[bool] = False

    steps: Annotated[Positive, "DDIM steps from the noise to an image"] = 2
    lr: Annotated[PositiveFloat, "Adam's learning rate for the noise"] = 0.05
    iterations: Annotated[Positive, Meta(le=10_000), "optimiser steps of each fit"] = 200
    best: Annotated[Positive, "a fit returns the latest of so many iterates with the least held-out errors"] = 100
    held_out: Annotated[float, Meta(gt=0, le=0.5), "share of the measurements that each fit holds out"] = 0.1
    fits: Annotated[Positive, "number of fits averaged, each from other noise"] = 4

    def __post_init__(self) -> None:
        if self.held_out * self.fits > 1:
            raise ValueError(f"{self.fits} fits that each hold out {self.held_out:g} of the values exceed all of them")


class PriorInit(HybridOptions, tag="prior-init", frozen=True):
    """A data-consistent diffusion sampler that starts at a restoration, noised in proportion to its estimated error."""

    summary: ClassVar[str] = "a diffusion sampler that starts at a restoration, noised"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.prior_init:PriorInitRestorer"

    start: Annotated[
        Literal["classic", "dip", "pinv"],
        "restoration that the sampler starts at: classic (kriging, bicubic, ..., by the task), one DIP fit, or A+ y",
    ] = "classic"
    steps: Annotated[Positive, "evaluations of the diffusion network for each sample"] = 50
    samples: Annotated[Positive, "number of samples averaged"] = 8


class SelfDiffusion(HybridOptions, tag="self-diffusion", frozen=True):
    """An untrained network fitted through a falling noise schedule; its input is its own last output, noised."""

    summary: ClassVar[str] = "experimental: DIP through a falling noise schedule, without any trained network"
    experimental: ClassVar[bool] = True
    restorer_path: ClassVar[str] = "dipddpm.core.methods.self_diffusion:SelfDiffusionRestorer"
    needs_prior: ClassVar[bool] = False

    start: Annotated[GreyLevels, "first noise level on the network's input, in 8-bit grey levels"] = 255.0
    floor: Annotated[GreyLevels, "last noise level on the network's input, in 8-bit grey levels"] = 10.0
    fall: Annotated[Positive, "iterations over which the noise level falls from start to floor"] = 200
    every: Annotated[Positive, "iterations at each noise level"] = 10


class Sequential(HybridOptions, tag="sequential", frozen=True):
    """DIP and diffusion in turn: the network's input is its own last output, purified by the trained network."""

    summary: ClassVar[str] = "experimental: DIP whose input is its own last output, purified by the diffusion network"
    experimental: ClassVar[bool] = True
    restorer_path: ClassVar[str] = "dipddpm.core.methods.sequential:SequentialRestorer"

    weight: Annotated[NonNegative, "weight of the pull to the input, relative to the data error; 0: none"] = 1.0
    start: Annotated[GreyLevels, "noise level of the first purification, in 8-bit grey levels"] = 150.0
    floor: Annotated[GreyLevels, "last noise level, in 8-bit grey levels; at least the measurement's"] = 50.0
    fall: Annotated[Positive, "iterations over which the noise level falls from start to floor"] = 100
    every: Annotated[Positive, "iterations between two purifications"] = 10
    steps: Annotated[Natural, "evaluations of the diffusion network in each purification; 0: none (aSeqDIP)"] = 3


class Conditioned(HybridOptions, tag="conditioned", frozen=True):
    """The training hybrid: a diffusion network whose inputs are the noised image and a DIP result of the measurement.

    The network is trained for one task, on a bank of DIP results of degraded training images.
    """

    summary: ClassVar[str] = "a network trained with DIP's result as a second input"
    experiment: ClassVar[str] = "dipddpm.core.experiments.conditioned:ConditionedExperiment"
    learns: ClassVar[bool] = True

    conditioning: Annotated[
        Literal["dip", "pinv"], "second input of the network: DIP's result or, as a control, A+ y"
    ] = field(default="dip", name="beside")
    normalized: Annotated[
        bool,
        "whether the network models (x - second input) / its estimated error in place of the image x (warm starts)",
    ] = False
    bank: Annotated[
        int, Meta(ge=20, le=60_000), "number of training images in the bank; a tenth more select the best model"
    ] = 500
    sampler: Annotated[
        Literal["dpm++", "ddnm", "diffpir"],
        "sampler: dpm++ knows the measurement only by the second input; ddnm and diffpir enforce it",
    ] = "diffpir"
    steps: Annotated[Positive, "steps of the sampler"] = 20
    samples: Annotated[Positive, "number of samples averaged"] = 8


class DegradedOnly(HybridOptions, tag="degraded-only", frozen=True):
    """The other training hybrid: a diffusion model that is learned from degraded images alone.

    Each round trains the network on the current restorations of the training images, then replaces each of them by a
    sample of its posterior (expectation maximisation). The first restorations are DIP's, or another start's.
    """

    summary: ClassVar[str] = "a diffusion model learned from degraded images alone, from DIP's restorations on"
    experiment: ClassVar[str] = "dipddpm.core.experiments.degraded_only.experiment:DegradedOnlyExperiment"
    noises: ClassVar[frozenset[str]] = frozenset({"gaussian", "poisson", "poisson-gaussian"})
    learns: ClassVar[bool] = True
    learns_prior: ClassVar[bool] = True

    start: Annotated[
        Literal["dip", "classic", "pinv", "clean"],
        "first restorations: DIP fits, a classic method (kriging, bicubic, ..., by the task), A+ y, or samples of a "
        "network trained on a few clean images",
    ] = "dip"
    clean: Annotated[
        Positive, "number of clean images, the last of the training split, which no round trains on (start=clean)"
    ] = 50
    rounds: Annotated[
        Positive, "number of rounds; each trains for ddpm.epochs epochs, from the last round's weights"
    ] = 3
    sampler: Annotated[
        Literal["mmps", "diffpir", "ddnm"], "sampler of the posterior; a step of mmps takes about five times as long"
    ] = "mmps"
    steps: Annotated[Positive, "steps of the sampler"] = 20
    samples: Annotated[
        Positive, "number of samples averaged for each image of images.*; a training image gets one sample a round"
    ] = 4


HybridMethod: TypeAlias = (
    Calibrated | Conditioned | DegradedOnly | Guided | NoiseFit | PriorInit | SelfDiffusion | Sequential | Substitution
)
HYBRIDS: dict[str, type[HybridOptions]] = by_tag(HybridMethod)
NORMALIZED = "-normalized"
"""End of a method's name in a comparison, if its network models normalised images."""
REMOVED = {
    "calibrated": {"fold", "weight", "near", "far", "full_steps", "trusted"},
    "prior-init": {"fits", "scale"},
}
"""Former options by method, which the config.toml of older runs holds and which are ignored there."""
DEFAULT_HYBRID = "calibrated"


WITH = " with "
"""Stands in a comparison of several priors between the name of a method and that of its prior."""


def is_hybrid(method: str) -> bool:
    """Return whether a method of a comparison is a hybrid, and not a baseline or a control."""
    return method.partition(WITH)[0].removesuffix(NORMALIZED) in HYBRIDS
