"""Evaluation of samples: distances to real images, suspected copies, and a picture of the nearest training images.

Every value comes with its protocol, which states how it was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from torch import Tensor

from dipddpm.core.config import DataConfig
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import load_split
from dipddpm.core.events import Pictures, SamplesEvaluated
from dipddpm.core.metrics.samples.classifier import FEATURES, SHAPE, as_bytes, features_of, load_classifier
from dipddpm.core.metrics.samples.distances import KERNEL, frechet_distance, kernel_distance, refuse_few
from dipddpm.core.metrics.samples.nearest import QUANTILE, SEARCHES, Nearest, nearest_pictures, suspected_copies

COMPARED = 1_000
"""Largest number of samples, and of test images, whose nearest training images are searched for."""


def evaluate(
    samples: Tensor, reference: ImageSet, *, seed: int, step: int = 0, nfe: int = 0
) -> tuple[SamplesEvaluated, SamplesEvaluated]:
    """Measure the Frechet and the kernel distance between samples and a data set, on the classifier's features.

    `samples` are 28x28 grey images, float in [0, 1] or uint8, drawn with `seed` at `nfe` network evaluations each.
    Raises UserError for images of another size, for values that aren't finite, and for fewer than 128 images.
    """
    for images in (samples, reference):
        refuse_few(len(images), FEATURES)
    classifier = load_classifier()
    sample_features, reference_features = classifier.features(samples), features_of(reference, classifier)
    _, height, width = SHAPE
    # Two distances can be compared only if their protocols agree.
    protocol = (
        f"{len(samples):,} samples of seed {seed} against the {len(reference):,} {reference.split} images of "
        f"{reference.name} (sha256 {reference.sha256[:12]}); {width}x{height} grey, clipped and rounded to 8 bits; "
        f"the {FEATURES} features before the last layer of fashion-classifier (sha256 {classifier.sha256[:12]})"
    )

    def event(measure: str, value: float, formula: str) -> SamplesEvaluated:
        return SamplesEvaluated(
            step=step, measure=measure, value=value, samples=len(samples), protocol=f"{protocol}; {formula}", nfe=nfe
        )

    return (
        event(
            "Frechet distance",
            frechet_distance(sample_features, reference_features),
            "squared distance of fitted Gaussians",
        ),
        event(
            "Kernel distance",
            kernel_distance(sample_features, reference_features),
            f"unbiased squared MMD, kernel {KERNEL}",
        ),
    )


@dataclass(frozen=True, eq=False)
class SampleEvaluator:
    """An evaluator that compares samples with the test split and with the model's training images."""

    training: ImageSet
    test: ImageSet

    @classmethod
    def of(cls, options: DataConfig, training: ImageSet) -> Self:
        """Set up the evaluation of a model that was trained on these images.

        Raises UserError unless the images are 28x28 and grey, and there are at least 128 test images.
        """
        as_bytes(training.images[:1])
        test = load_split(options, "test")
        refuse_few(len(test), FEATURES)
        return cls(training, test)

    def __call__(
        self, samples: Tensor, *, seed: int, step: int = 0, nfe: int = 0
    ) -> Iterator[SamplesEvaluated | Pictures]:
        """Yield the Frechet and kernel distance, the shares of suspected copies and a picture of the nearest images.

        `samples` are float in [0, 1] or uint8, drawn with `seed`. Raises UserError for fewer than 128 samples, and for
        values that aren't finite.
        """
        yield from evaluate(samples, self.test, seed=seed, step=step, nfe=nfe)
        some = samples[:COMPARED]
        protocol = (
            f"share of {len(some):,} samples of seed {seed} that lie nearer to one of the {len(self.training):,} "
            f"{self.training.split} images of {self.training.name} (sha256 {self.training.sha256[:12]}) than "
            f"{1 - QUANTILE:.0%} of {min(COMPARED, len(self.test)):,} {self.test.split} images do"
        )
        for space, search in SEARCHES.items():
            yield SamplesEvaluated(
                step=step,
                measure=f"Suspected copies, in {space}",
                value=suspected_copies(search(some, self.training), self._nearest_to_test[space]),
                samples=len(some),
                nfe=nfe,
                protocol=protocol,
            )
        yield nearest_pictures(samples, self.training, step=step)

    @cached_property
    def _nearest_to_test(self) -> dict[str, Nearest]:
        return {space: search(self.test.images[:COMPARED], self.training) for space, search in SEARCHES.items()}
