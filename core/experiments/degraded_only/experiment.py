"""A run that learns a diffusion model from degraded images alone, and restores other images with it."""

from __future__ import annotations

from typing import Self

import torch

from dipddpm.core import registry
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun, degraded_only
from dipddpm.core.config.hybrid import DegradedOnly
from dipddpm.core.config.shapes import refuse_other_shape
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import load_split, load_training
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.experiments.degraded_only.rounds import Measured
from dipddpm.core.experiments.degraded_only.training import DegradedOnlyTraining
from dipddpm.core.experiments.dip_cache import measure
from dipddpm.core.experiments.given import Batch, load_batch, with_known_noise
from dipddpm.core.experiments.hybrid import HybridExperiment
from dipddpm.core.images import to_unit
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import TimeBudget
from dipddpm.core.methods.posterior_samples import PosteriorSamples
from dipddpm.core.metrics.samples import SampleEvaluator


class DegradedOnlyExperiment(HybridExperiment):
    """A run that trains in rounds, restores the images to restore, and scores them against DIP in the same time.

    DIP is the only baseline, since it needs no clean images either. The images to restore are held out: each round
    measures its model on them.
    """

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:
        """Build the experiment. Raises UserError for contradictory options, and for images that are missing or few."""
        degraded_only.refuse(config)
        train, clean = split_clean(config)
        batch = load_batch(config, train.images.shape[1])
        refuse_other_shape(batch.shape(config), train.images.shape[1:])
        return cls(config, batch, device, training=build_training(config, train, batch, device, clean=clean))

    def _restorer(self, prior: TrainedModel | None) -> Restorer:
        options = self.config.hybrid
        assert prior is not None
        assert isinstance(options, DegradedOnly)
        return PosteriorSamples(self.case, prior, method=options.sampler, steps=options.steps, samples=options.samples)

    def _baselines(self, prior: TrainedModel | None, seconds: float) -> dict[str, TimeBudget]:
        del prior  # the DDPM baseline would be this method again
        return super()._baselines(None, seconds)


def split_clean(config: HybridRun) -> tuple[ImageSet, ImageSet | None]:
    """Load the images to degrade and train on, and for the start `clean`, the last ones of the split as clean ones.

    Raises UserError for too few images.
    """
    options = config.hybrid
    assert isinstance(options, DegradedOnly)
    train, _ = load_training(config.data, held_out=False)
    if options.start != "clean":
        return train, None
    whole = load_split(config.data, "train")
    left = len(whole) - options.clean
    if left < max(1, config.data.train_images):
        wanted = f"{config.data.train_images or 1:,} degraded and {options.clean:,} clean"
        problem = f"{whole.name} has {len(whole):,} images to train on, too few for {wanted} ones."
        raise UserError(problem, "Lower hybrid.clean or data.train_images.")
    return train.take(range(min(len(train), left))), whole.take(range(left, len(whole)))


def build_training(
    config: HybridRun,
    train: ImageSet,
    batch: Batch,
    device: torch.device | str,
    *,
    clean: ImageSet | None = None,
    training_class: type[DegradedOnlyTraining] = DegradedOnlyTraining,
) -> DegradedOnlyTraining:
    """Measure the images of `train`, and return their training; the images of `batch` are held out."""
    channels, height, width = train.images.shape[1:]
    # Initialisation draws from torch's global generator, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "network"))
        network = registry.network(config.ddpm.network).for_images((channels, height, width), config, 0)
    case = measure(train, config.task, derive(config.seed, "bank"), device)
    evaluator = SampleEvaluator.of(config.data, train) if config.ddpm.evaluate else None
    sets = [train, *([clean] if clean else []), *([evaluator.test] if evaluator else [])]
    return training_class(
        config,
        network,
        Measured(case, to_unit(train.images).to(device)),
        Measured(
            with_known_noise(batch.case(config))[0].to(device),
            None if batch.truth is None else batch.truth.to(device),
        ),
        clean=None if clean is None else clean.images,
        reference=evaluator.test if evaluator else None,
        sets=sets,
    )
