"""How good samples are, as numbers that come with the protocol that gives them a meaning."""

from __future__ import annotations

from torch import Tensor

from dipddpm.core.data import ImageSet
from dipddpm.core.events import SamplesEvaluated
from dipddpm.core.metrics.samples.classifier import FEATURES, SHAPE, load_classifier
from dipddpm.core.metrics.samples.distances import KERNEL, frechet_distance, kernel_distance, refuse_few
from dipddpm.core.metrics.samples.reference import features_of

FRECHET = "Frechet distance"
KERNEL_MMD = "Kernel distance"


def evaluate(
    samples: Tensor, reference: ImageSet, *, seed: int, step: int = 0, nfe: int = 0
) -> tuple[SamplesEvaluated, SamplesEvaluated]:
    """The Frechet and the kernel distance between samples and a data set, on the features of our own classifier.

    `samples` are 28x28 grey images, float in [0, 1] or uint8, drawn with `seed` at `nfe` network evaluations each.
    Raises UserError for images of another size, for values that aren't finite, and for fewer than 128 images.
    """
    refuse_few(len(samples), FEATURES)
    refuse_few(len(reference), FEATURES)
    classifier = load_classifier()
    own, theirs = classifier.features(samples), features_of(reference, classifier)
    about = protocol(len(samples), reference, seed=seed)

    def event(measure: str, value: float, formula: str) -> SamplesEvaluated:
        return SamplesEvaluated(
            step=step, measure=measure, value=value, samples=len(samples), protocol=f"{about}; {formula}", nfe=nfe
        )

    return (
        event(FRECHET, frechet_distance(own, theirs), "squared distance of fitted Gaussians"),
        event(KERNEL_MMD, kernel_distance(own, theirs), f"unbiased squared MMD, kernel {KERNEL}"),
    )


def protocol(samples: int, reference: ImageSet, *, seed: int) -> str:
    """What has to be the same for two distances to compare: counts, seed, reference, preprocessing and features."""
    _, height, width = SHAPE
    return (
        f"{samples:,} samples of seed {seed} against the {len(reference):,} {reference.split} images of "
        f"{reference.name} (sha256 {reference.sha256[:12]}); {width}x{height} grey, clipped and rounded to 8 bits; "
        f"the {FEATURES} features before the last layer of fashion-classifier (sha256 {load_classifier().sha256[:12]})"
    )
