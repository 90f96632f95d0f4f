"""Options of the hybrids, one struct a method; `restorer` says where the method itself lives.

A method that is more than that, as one that trains a network of its own, has an `experiment` of its own.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from msgspec import Meta

from dipddpm.core.config.base import Natural, NonNegative, Positive, PositiveFloat, Share, by_tag
from dipddpm.core.config.tasks import RestorerOptions


class HybridOptions(RestorerOptions, tag_field="method", frozen=True):
    """What every hybrid has: a summary for the help page, and the import paths of what carries it out."""

    summary: ClassVar[str] = ""
    experiment: ClassVar[str] = "dipddpm.core.experiments.hybrid:HybridExperiment"
    restorer_path: ClassVar[str] = ""
    """The import path of the factory that makes a `core.methods.base.Restorer` from a case, a prior, these options and
    those of DIP. Empty for a method that restores nothing."""
    needs_prior: ClassVar[bool] = True
    """Whether it needs a trained diffusion model beside the measurements."""
    learns: ClassVar[bool] = False
    """Whether it goes on training the prior that it is given, for as many epochs as it is told."""


class Substitution(HybridOptions, tag="substitution", frozen=True):
    """The published hybrid: the output of a DIP hourglass stands in for xt, and the network still regresses eps."""

    summary: ClassVar[str] = "the published form: DIP's output in place of the noised image"
    experiment: ClassVar[str] = "dipddpm.core.experiments.substitution:SubstitutionExperiment"

    reading: Annotated[
        Literal["frozen", "fresh", "warm"],
        "how the hourglass makes its output: frozen, random weights applied to xt; fresh or warm, "
        "fitted to reproduce each batch of xt from a fixed z, from new weights or from those of the batch before",
    ] = "frozen"
    steps: Annotated[Positive, "hourglass steps k on each batch (fresh and warm)"] = 10
    lr: Annotated[PositiveFloat, "the hourglass's learning rate (fresh and warm)"] = 0.01
    scales: Annotated[int, Meta(ge=0, le=8), "times the hourglass halves the image, at most"] = 2
    channels: Annotated[Positive, "the hourglass's feature maps at every scale"] = 32
    skip_channels: Annotated[Natural, "feature maps that bypass each scale; 0: none"] = 0
    picture_every: Annotated[Positive, "epochs between two pictures of what the network sees in place of xt"] = 5


class Calibrated(HybridOptions, tag="calibrated", frozen=True):
    """DIP, guided DIP and diffusion, weighed image by image by how well they predict measurements kept from them."""

    summary: ClassVar[str] = "DIP and diffusion, each trusted as far as it predicts measurements kept from it"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.calibrated.method:calibrated"

    hidden: Annotated[float, Meta(gt=0, lt=1), "share of the measurements that the candidates are tried on"] = 0.1
    fold: Annotated[float, Meta(gt=0, le=0.5), "where pixels are missing: share of the others that a fold hides"] = 0.12
    folds: Annotated[int, Meta(ge=2), "and the folds, each of which hides others"] = 5
    noise: Annotated[
        PositiveFloat, "where noise is split instead: noise added for the candidates, in shares of the measurement's"
    ] = 0.35
    iterations: Annotated[Positive, "iterations of each DIP fit, at most"] = 200
    weight: Annotated[PositiveFloat, "pull of the guided fit, as in guided"] = 0.1
    pull: Annotated[NonNegative, "pull of further fits, at least, where values were hidden from those on trial"] = 0.03
    near: Annotated[PositiveFloat, "noise on the fits where diffusion begins at them, as scale in prior-init"] = 4.0
    far: Annotated[PositiveFloat, "the same, where it has only the large features from them"] = 15.0
    steps: Annotated[Positive, "steps of a sample that begins at the fits"] = 20
    full_steps: Annotated[Positive, "steps of a sample that begins at pure noise, at most"] = 100
    trial_samples: Annotated[Positive, "samples that are averaged on trial"] = 4
    samples: Annotated[Positive, "samples that are averaged where they are trusted"] = 16
    restarts: Annotated[
        Natural,
        "further DIP fits of the images for which DIP is trusted; two more where values were hidden "
        "from those on trial, which then count no more, and four where pixels are missing",
    ] = 2
    trusted: Annotated[float, Meta(ge=0, le=1), "weight of the DIP fits above which they are made again"] = 0.3
    least: Annotated[Share, "weight of another candidate below which it is not made again"] = 0.05

    def __post_init__(self) -> None:
        if self.fold * self.folds > 1:
            raise ValueError(f"{self.folds} folds that each hide {self.fold:g} of the pixels hide more than there are")


class Guided(HybridOptions, tag="guided", frozen=True):
    """DIP regularised by the diffusion prior: its output is drawn to what the network makes of it, noised."""

    summary: ClassVar[str] = "DIP drawn to what the diffusion network makes of its output"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.guided:GuidedRestorer"

    weight: Annotated[NonNegative, "w of the pull, beside a data error of weight 1; 0: plain DIP"] = 0.1
    start: Annotated[PositiveFloat, "noise on the output at first, in 8-bit grey levels"] = 150.0
    floor: Annotated[PositiveFloat, "last noise on the output, in 8-bit grey levels; at least the measurement's"] = 25.0
    fall: Annotated[Positive, "iterations in which the noise falls from start to floor"] = 100
    every: Annotated[Positive, "iterations between two evaluations of the diffusion network"] = 4


class PriorInit(HybridOptions, tag="prior-init", frozen=True):
    """DIP's result, noised as far as it seems to be wrong, is where a data-consistent sampler begins."""

    summary: ClassVar[str] = "the diffusion sampler begins at DIP's result, noised"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.prior_init:PriorInitRestorer"

    fits: Annotated[int, Meta(ge=2), "DIP fits, whose mean is the beginning and whose spread tells its error"] = 2
    scale: Annotated[PositiveFloat, "noise on the beginning, in shares of the root mean square spread of fits"] = 15.0
    steps: Annotated[Positive, "evaluations of the diffusion network for each sample"] = 10
    samples: Annotated[Positive, "samples that are averaged"] = 8


class SelfDiffusion(HybridOptions, tag="self-diffusion", frozen=True):
    """An untrained network fitted through a falling noise schedule: it sees its own last output, noised."""

    summary: ClassVar[str] = "DIP through a falling noise schedule, with nothing that was trained"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.self_diffusion:SelfDiffusionRestorer"
    needs_prior: ClassVar[bool] = False

    start: Annotated[PositiveFloat, "noise on what it sees at first, in 8-bit grey levels"] = 255.0
    floor: Annotated[PositiveFloat, "noise on what it sees in the end, in 8-bit grey levels"] = 10.0
    fall: Annotated[Positive, "iterations in which the noise falls from start to floor"] = 200
    every: Annotated[Positive, "iterations at each noise level"] = 10


class Sequential(HybridOptions, tag="sequential", frozen=True):
    """DIP and diffusion in turn: the network sees its own last output, which the trained one has cleaned."""

    summary: ClassVar[str] = "DIP fed by what the diffusion network makes of its output, in turn"
    restorer_path: ClassVar[str] = "dipddpm.core.methods.sequential:SequentialRestorer"

    weight: Annotated[NonNegative, "w of the pull to what it sees, beside a data error of weight 1"] = 1.0
    start: Annotated[PositiveFloat, "noise of the first purification, in 8-bit grey levels"] = 150.0
    floor: Annotated[PositiveFloat, "noise of the last ones, in 8-bit grey levels; at least the measurement's"] = 50.0
    fall: Annotated[Positive, "iterations in which the noise falls from start to floor"] = 100
    every: Annotated[Positive, "iterations between two purifications"] = 10
    steps: Annotated[Natural, "evaluations of the diffusion network in each purification; 0: none (aSeqDIP)"] = 3


class Conditioned(HybridOptions, tag="conditioned", frozen=True):
    """The training hybrid: a diffusion network that sees what a DIP made of the measurement, beside the noised image.

    It is trained for one task, on a bank of DIP results for degraded training images.
    """

    summary: ClassVar[str] = "a network trained with DIP's results beside the noised image"
    experiment: ClassVar[str] = "dipddpm.core.experiments.conditioned:ConditionedExperiment"
    learns: ClassVar[bool] = True

    beside: Annotated[Literal["dip", "pinv"], "beside the noised image: DIP's result or, as a control, A+ y"] = "dip"
    bank: Annotated[
        int, Meta(ge=20, le=60_000), "training images in the bank; a tenth more are held out to select on"
    ] = 500
    sampler: Annotated[
        Literal["dpm++", "ddnm", "diffpir"],
        "how samples are drawn: knowing the measurement by what is seen alone, or agreeing with it",
    ] = "diffpir"
    steps: Annotated[Positive, "steps of the sampler"] = 20
    samples: Annotated[Positive, "samples that are averaged"] = 8


HybridMethod: TypeAlias = Calibrated | Conditioned | Guided | PriorInit | SelfDiffusion | Sequential | Substitution
HYBRIDS: dict[str, type[HybridOptions]] = by_tag(HybridMethod)
DEFAULT_HYBRID = "calibrated"
