"""One method on one degradation of one set, and what is written down of it: a score, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from core.data import ImageSet
from core.errors import UserError
from core.events import RestorationMissing, RestorationScored
from core.hybrid.timed import Spent
from core.metrics import psnr, ssim
from core.quality.classifier import load_classifier

CLASSIFIED = {"fashionmnist", "fashion-mini"}
"""The sets whose classes our classifier knows."""


@dataclass(frozen=True)
class Unit:
    """What a head-to-head does between two scores."""

    task: str
    set: str
    seed: int
    method: str

    def scored(self, spent: Spent, budget_of: str, images: ImageSet, truth: Tensor, step: int) -> RestorationScored:
        """The score of what came of it; `truth` are the images in [0, 1], on the device of the work."""
        right: list[bool] = []
        if self.set in CLASSIFIED:
            right = (load_classifier().predict(spent.images) == images.labels.cpu()).tolist()
        return RestorationScored(
            task=self.task,
            set=self.set,
            seed=self.seed,
            method=self.method,
            budget_of=budget_of,
            psnr=psnr(spent.images, truth).tolist(),
            ssim=ssim(spent.images, truth).tolist(),
            nfe=spent.nfe,
            iterations=spent.iterations,
            seconds=spent.seconds,
            runs=spent.runs,
            recognised=right,
            step=step,
        )

    def failed(self, error: Exception, step: int) -> RestorationMissing:
        """That it came to nothing, with what the error says."""
        named = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        why = " ".join(f"{named}{error}".split())
        return self.absent(self.method, why, step, failed=True)

    def absent(self, method: str, why: str, step: int, *, failed: bool = False) -> RestorationMissing:
        """That a method has no result in its cell."""
        return RestorationMissing(
            task=self.task, set=self.set, seed=self.seed, method=method, why=why, failed=failed, step=step
        )
