"""Diffusion for images with impulses, which are detected first: the diffusion baseline with the hybrid's own trick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import without_impulses
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for

FINDER_SAMPLES = 4
FINDER_STEPS = 100
FINDER_DELTA = 0.003
"""Samples, steps and `delta` of the robust restoration that detects impulses.

Impulses that are overlooked cost most: they stay in the result. On six training images with a tenth of the values hit,
the final mean of two samples had 26.1 dB if a 3x3 median detected them, 28.4 with one robust sample and 29.7 with four
(28.9 for a `delta` of 0.004); on six patches from number 100,000 on it had 35.3, 35.4 and 34.7 dB. Detecting once more
with the final restoration changed it by less than 0.1 dB, because that restoration equals y where y is trusted.
"""


class DetectedImpulsesRestorer:
    """The mean of `samples` diffusion restorations of a case whose impulses are detected and masked out.

    A robust restoration comes first: it isn't told the share of impulses, and shows where y differs from a likely
    image. The best sampler for missing pixels then restores the others, and values that are trusted are reproduced
    exactly if they have no other noise.

    There is no such baseline for blurs: an equalized spectrum, which lets DIP fit faster, gains nothing here. With
    a blur of 1.5 pixels and noise of 2 grey levels, it changed the mean of two samples of DDNM+, DiffPIR and MMPS by
    -0.1 to -0.4 dB, on six training images and six patches from number 100,000 on: samplers allow for the noise and
    the gain of each frequency already.
    """

    iterations = 0

    def __init__(self, case: Case, prior: TrainedModel, *, samples: int = 1) -> None:
        """Set up the robust restoration; the other one begins when it has ended."""
        self.case, self.prior, self.samples = case, prior, samples
        self.finder = Restoration(
            "robust",
            prior.denoiser(),
            case.y,
            case.degradation,
            case.shape,
            steps=min(FINDER_STEPS, len(prior.schedule)),
            samples=FINDER_SAMPLES,
            seed=derive(case.seed, "impulses"),
            options={"delta": FINDER_DELTA},
        )
        self.restorer: DdpmRestorer | None = None
        """The restoration without impulses; None until they are detected."""

    def __len__(self) -> int:
        masked = without_impulses(self.case, self.case.y).degradation
        return len(self.finder) + min(diffusion_for(masked).steps, len(self.prior.schedule))

    def __iter__(self) -> Iterator[Item]:
        yield from self.finder
        self.restorer = self.restorer or self._begin()
        for item in self.restorer:
            yield shift_step(item, len(self.finder))

    @property
    def images(self) -> Tensor:
        """The current restoration (N, C, H, W), in [0, 1] but not clipped; at first that with the impulses."""
        if self.restorer is None:
            return self.finder.images
        case = without_impulses(self.case, self.finder.images)
        images, operator = self.restorer.images, case.degradation.operator
        exact = case.degradation.expected_residual(case.y) is None
        return images + operator.pinv(case.y - operator.A(images)) if exact else images

    @property
    def nfe(self) -> int:
        """The number of network evaluations for each image, for detection and all samples together."""
        return self.finder.nfe + (self.restorer.nfe if self.restorer else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the constructor's arguments; valid after a `Step`."""
        return {
            "finder": self.finder.state_dict(),
            "restorer": self.restorer.state_dict() if self.restorer else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.finder.load_state_dict(state["finder"])
        self.restorer = None
        if state["restorer"] is not None:
            self.restorer = self._begin()
            self.restorer.load_state_dict(state["restorer"])

    def _begin(self) -> DdpmRestorer:
        return DdpmRestorer(without_impulses(self.case, self.finder.images), self.prior, samples=self.samples)
