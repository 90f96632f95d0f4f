"""The measurement that the methods restore from, in model space."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.core.degrade import Degradation, SaltAndPepper

MIN_SIGMA = 1e-3
"""Least noise that a method assumes in a measurement if its step is undefined without noise; on images in [0, 1]."""


class Problem:
    """A measurement in model space: the `operator`, `y` shaped like its output, and the noise `sigma`, (N, 1, 1, 1).

    The methods assume Gaussian noise, so other noise is described by a Gaussian of the same mean variance: Poisson
    noise by an estimate from y, salt-and-pepper noise by its upper bound hit / 2.
    """

    def __init__(self, y: Tensor, degradation: Degradation, shape: tuple[int, ...]) -> None:
        self.operator = degradation.operator
        self.y = 2 * y - self.operator.A(torch.ones(shape, device=y.device, dtype=y.dtype))
        self.shape = shape
        impulses = degradation.noise if isinstance(degradation.noise, SaltAndPepper) else None
        variance = degradation.expected_residual(y)
        if variance is None:
            variance = y.new_full((len(y),), impulses.hit / 2 if impulses else 0.0)
        self.sigma = 2 * variance.clamp(min=0).sqrt().view(-1, 1, 1, 1)
        self.sigma_without_impulses = torch.full_like(self.sigma, 2 * impulses.sigma) if impulses else self.sigma
        """The noise of the values that aren't impulses; `sigma` where there are no impulses."""

    @property
    def positive_sigma(self) -> Tensor:
        """The noise `sigma`, at least `MIN_SIGMA`, for methods that can't do without."""
        return self.sigma.clamp(min=2 * MIN_SIGMA)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each image of a with that of b, (N, 1, 1, 1)."""
    return (a * b).sum((1, 2, 3), keepdim=True)
