"""The rehearsal of a restoration: a known picture of half the size is damaged and restored in the same way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.degrade import CircularBlur, Identity, Mask, Operator
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.clipping import clipped_sigma, clipping_corrected, without_clipping

LEAST_SIDE = 24
"""The least side of a picture that is rehearsed at half its size."""


@dataclass(frozen=True)
class Rehearsal:
    """A case that was made from a known picture, and that picture (N, C, H, W)."""

    case: Case
    truth: Tensor

    @classmethod
    def of(cls, case: Case, images: Tensor) -> Rehearsal | None:
        """Halve restored images of a case, and damage them as the case was; None if that would say nothing.

        A restoration is smoother than the truth, but half its size it has details as fine as a picture's own, since
        natural pictures look alike at all sizes. Clipped measurements are clipped again, after the means that clipping
        has moved have been moved back.
        """
        operator = _halved(case.degradation.operator, case.shape)
        if operator is None or min(case.shape[2:]) < LEAST_SIDE:
            return None
        if isinstance(operator, Mask) and case.degradation.expected_residual(case.y) is None:
            return None
        sigma = clipped_sigma(case)
        truth = F.avg_pool2d(without_clipping(images, sigma) if sigma else images.clamp(0, 1), 2)
        degradation = replace(case.degradation, operator=operator)
        generator = torch.Generator(case.y.device).manual_seed(derive(case.seed, "rehearsal"))
        y = degradation.measure(truth, generator)
        if sigma:
            y = y.clamp(0, 1)
        n, c, h, w = truth.shape
        return cls(replace(case, y=y, degradation=degradation, shape=(n, c, h, w)), truth)

    def errors(self, images: Tensor) -> tuple[float, float]:
        """Return the mean squared errors of restored images at measured pixels and at the others (0 if all are)."""
        squared = (clipping_corrected(images, self.case).clamp(0, 1) - self.truth).square()
        measured = torch.ones_like(squared)
        if isinstance(self.case.degradation.operator, Mask):
            measured = self.case.degradation.operator.measured(squared)
        return (
            ((squared * measured).sum() / measured.sum().clamp(min=1)).item(),
            ((squared * (1 - measured)).sum() / (1 - measured).sum().clamp(min=1)).item(),
        )


def _halved(operator: Operator, shape: tuple[int, int, int, int]) -> Operator | None:
    height, width = shape[2] // 2, shape[3] // 2
    if isinstance(operator, Identity):
        return operator
    if isinstance(operator, Mask):
        # The quarter of the mask with the most missing pixels.
        quarters = [operator.mask[..., i : i + height, j : j + width] for i in (0, height) for j in (0, width)]
        return Mask(min(quarters, key=lambda quarter: quarter.mean().item()))
    if isinstance(operator, CircularBlur):
        kernel = torch.fft.fftshift(torch.fft.irfft2(operator.transfer, s=operator.size))
        rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
        radii = (height - 1) // 2, (width - 1) // 2
        kernel = kernel[rows - radii[0] : rows + radii[0] + 1, columns - radii[1] : columns + radii[1] + 1]
        return CircularBlur(kernel, (height, width))
    return None
