"""One method on one degradation of one set, and what is written down of it: a score, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dipddpm.core.data import ImageSet
from dipddpm.core.errors import UserError
from dipddpm.core.events import RestorationMissing, RestorationScored
from dipddpm.core.methods.budget import Cost
from dipddpm.core.metrics.image import psnr, ssim
from dipddpm.core.metrics.samples.classifier import load_classifier

CLASSIFIED = {"fashionmnist", "fashion-mini"}
"""The sets whose classes our classifier knows."""


@dataclass(frozen=True)
class RestoreJob:
    """What a head-to-head does between two scores."""

    task: str
    set: str
    seed: int
    method: str

    def score_event(self, cost: Cost, budget_of: str, images: ImageSet, truth: Tensor, step: int) -> RestorationScored:
        """The score of what came of it; `truth` are the images in [0, 1], on the device of the work."""
        right: list[bool] = []
        if self.set in CLASSIFIED:
            right = (load_classifier().predict(cost.images) == images.labels.cpu()).tolist()
        return RestorationScored(
            task=self.task,
            set=self.set,
            seed=self.seed,
            method=self.method,
            budget_of=budget_of,
            psnr=psnr(cost.images, truth).tolist(),
            ssim=ssim(cost.images, truth).tolist(),
            nfe=cost.nfe,
            iterations=cost.iterations,
            seconds=cost.seconds,
            runs=cost.runs,
            recognised=right,
            step=step,
        )

    def failure_event(self, error: Exception, step: int) -> RestorationMissing:
        """That it came to nothing, with what the error says."""
        named = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        why = " ".join(f"{named}{error}".split())
        return self.missing_event(self.method, why, step, failed=True)

    def missing_event(self, method: str, why: str, step: int, *, failed: bool = False) -> RestorationMissing:
        """That a method has no result in its cell."""
        return RestorationMissing(
            task=self.task, set=self.set, seed=self.seed, method=method, why=why, failed=failed, step=step
        )
