"""The results of one candidate in a trial."""

from __future__ import annotations

import math

import msgspec
import torch
from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.splits import Split


class Tried(msgspec.Struct):
    """A candidate's errors in a trial: mean squares, on the scale [0, 1]."""

    failed: str = ""
    """Why the candidate is left out; empty if it isn't."""
    seconds: float = 0.0
    error: float = 0.0
    """The error at held-out measurements, without their noise."""
    blocks: list[float] = []
    """The parts of `error` that are due to blocks of the images; their sum is `error`."""
    residual: float = 0.0
    """The difference from the measurements that the candidate was given."""
    rehearsed: tuple[float, float] | None = None
    """The errors of the rehearsal at measured pixels and at missing ones; None if there was none."""

    @classmethod
    def of(cls, case: Case, split: Split, images: Tensor, seconds: float) -> Tried:
        """Measure the candidate's restoration of the split case."""
        operator = split.case.degradation.operator
        measured = operator.measured(split.case.y)
        misfit = ((operator.A(images.clamp(0, 1)) - split.case.y) * measured).square().sum() / measured.sum()
        return cls(
            seconds=seconds,
            error=split.mean(images),
            blocks=split.blocks(images).tolist(),
            residual=misfit.item(),
        )

    @property
    def error_deviation(self) -> float:
        """The standard error of `error`, taking blocks as independent."""
        return float(torch.tensor(self.blocks).std(correction=0)) * math.sqrt(len(self.blocks))
