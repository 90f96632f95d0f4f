"""All that can be said of samples at once: distances, suspected copies, and the nearest training images to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from torch import Tensor

from dipddpm.core import data
from dipddpm.core.config import DataConfig
from dipddpm.core.data import ImageSet
from dipddpm.core.events import Pictures, SamplesEvaluated
from dipddpm.core.metrics.samples.classifier import FEATURES, as_bytes
from dipddpm.core.metrics.samples.distances import refuse_few
from dipddpm.core.metrics.samples.evaluate import evaluate
from dipddpm.core.metrics.samples.nearest import (
    QUANTILE,
    Nearest,
    nearest_in_features,
    nearest_in_pixels,
    nearest_pictures,
    suspected_copies,
)

COMPARED = 1_000
"""Samples, and real images that the model hasn't seen, whose nearest training images are looked for, at most."""


@dataclass(frozen=True, eq=False)
class SampleEvaluator:
    """Judges samples by the images that their model was trained on and by those of the test split."""

    training: ImageSet
    test: ImageSet

    @classmethod
    def of(cls, options: DataConfig, training: ImageSet) -> Self:
        """The judge of a model that was trained on these images of this data set.

        Raises UserError where the images aren't 28x28 and grey, and for fewer than 128 test images.
        """
        as_bytes(training.images[:1])
        test = data.load(options.dataset, "test", root=options.root)
        refuse_few(len(test), FEATURES)
        return cls(training, test)

    def __call__(
        self, samples: Tensor, *, seed: int, step: int = 0, nfe: int = 0
    ) -> Iterator[SamplesEvaluated | Pictures]:
        """Frechet and kernel distance, the shares of suspected copies, and the picture of the nearest images.

        `samples` are float in [0, 1] or uint8, drawn with `seed`. Raises UserError for fewer than 128 of them, and for
        values that aren't finite.
        """
        yield from evaluate(samples, self.test, seed=seed, step=step, nfe=nfe)
        some = samples[:COMPARED]
        for space, nearest in (("pixels", nearest_in_pixels), ("features", nearest_in_features)):
            yield SamplesEvaluated(
                step=step,
                measure=f"Suspected copies, in {space}",
                value=suspected_copies(nearest(some, self.training), self._unseen[space]),
                samples=len(some),
                nfe=nfe,
                protocol=self._protocol(len(some), seed),
            )
        yield nearest_pictures(samples, self.training, step=step)

    @cached_property
    def _unseen(self) -> dict[str, Nearest]:
        some = self.test.images[:COMPARED]
        return {"pixels": nearest_in_pixels(some, self.training), "features": nearest_in_features(some, self.training)}

    def _protocol(self, samples: int, seed: int) -> str:
        return (
            f"share of {samples:,} samples of seed {seed} that lie nearer to one of the {len(self.training):,} "
            f"{self.training.split} images of {self.training.name} (sha256 {self.training.sha256[:12]}) than "
            f"{1 - QUANTILE:.0%} of {min(COMPARED, len(self.test)):,} {self.test.split} images do"
        )
