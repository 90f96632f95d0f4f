"""DIP that allows for impulses without detecting them, by double over-parameterization."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.degrade import GaussianNoise
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.methods.regularized_dip import BatchAttachment, OneFit

START = 1e-3
"""First value of g and h everywhere."""
RATE = 0.06
"""Step size of the gradient descent on g and h.

With a tenth of the values hit, the fit had 22.8 dB on three training images and 36.5 dB on three glyphs from number
100,000 on; a plain fit has 21.4 and 26.9 dB. A rate of 0.03 gave 24.3 and 18.5 dB, since the network then fits the
impulses of glyphs first, and 0.1 gave 19.8 and 31.6 dB (500 iterations). Huber's loss, which is quadratic up to 0.1 on
the scale [0, 1], gave 21.8 and 19.0 dB (250 iterations).
"""


class SparseErrors(BatchAttachment):
    """The errors g^2 - h^2 of the measurements; the penalty turns the fit's loss into |A f + g^2 - h^2 - y|^2.

    Gradient descent from a small value makes g^2 - h^2 sparse (You et al., NeurIPS 2020).
    """

    stored: ClassVar[dict[str, str]] = {"g": "g", "h": "h"}

    def __init__(self, batch: PriorBatch) -> None:
        super().__init__(batch.y, seed=0)
        self.batch = batch
        self.g = torch.full_like(batch.y, START)
        self.h = torch.full_like(batch.y, START)

    def __call__(self, outputs: Tensor, indices: Tensor) -> Tensor:
        """Return what the errors add to the loss of each image, (n,), and do a descent step on them."""
        where = self.batch.fit_mask[indices]
        difference = (self.batch.operator.A(outputs) - self.batch.y[indices]) * where
        g, h = self.g[indices], self.h[indices]
        residual = difference + (g.square() - h.square()) * where
        slope = 4 * RATE * residual.detach()
        self.g = self.g.index_copy(0, indices, g * (1 - slope))
        self.h = self.h.index_copy(0, indices, h * (1 + slope))
        self.step += 1
        added = residual.square() - difference.square()
        return added.flatten(1).sum(1) / where.flatten(1).sum(1)


class RobustDipRestorer(OneFit):
    """A DIP fit that explains impulses by sparse errors of the measurements, and takes all its iterations."""

    def __init__(self, case: Case, dip: DipConfig) -> None:
        noise = GaussianNoise(getattr(case.degradation.noise, "sigma", 0.0))
        squared = replace(case, degradation=replace(case.degradation, noise=noise, blind=False))
        super().__init__(squared, msgspec.structs.replace(dip, stop="never"), derive(case.seed, "restart 0"))

    def attach(self, batch: PriorBatch, indices: list[int]) -> SparseErrors:
        """Attach sparse errors to the batch, and return them."""
        del indices
        batch.penalty = errors = SparseErrors(batch)
        return errors
