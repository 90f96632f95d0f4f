"""Two distances between sets of features: between Gaussians fitted to the sets, and between the sets themselves.

Both are computed on the CPU in float64. On Inception's features they would be the FID and the KID; on the project's
features they must not be called so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dipddpm.core.errors import UserError

KERNEL = "(x.y / d + 1)^3"
"""The kernel of the kernel distance, for d features (Binkowski et al., ICLR 2018, section 3)."""
CHUNK = 500
"""Samples whose third tensor powers are in memory at once."""


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared Frechet distance of Gaussians fitted to features x (N, d) and y (M, d), at least 0.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Dowson & Landau 1982), as in the FID of Heusel et al.
    (2017, eq. 6); covariances are unbiased. The distance grows as N falls, so only distances at equal N compare.
    Raises UserError if either set has fewer than 2 d samples, too few for its covariance.
    """
    for features in (x, y):
        refuse_few(len(features), features.shape[1])
    mean_x, cov_x = _moments(x)
    mean_y, cov_y = _moments(y)
    # C_x C_y isn't symmetric, but it has the same eigenvalues as the symmetric C_x^(1/2) C_y C_x^(1/2).
    root = _root(cov_x)
    overlap = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    distance = (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * overlap
    return max(0.0, float(distance))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Return the squared maximum mean discrepancy of features x (N, d) and y (M, d) under `KERNEL`.

    This is the unbiased estimator (Gretton et al., JMLR 2012, eq. 3) over all pairs, without subsets. Its mean doesn't
    depend on N; for equal distributions it is negative about half of the time. Raises ValueError if either set has
    fewer than two samples.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("the kernel distance needs at least two samples of each set")
    x, y = _extended(x), _extended(y)
    sum_x, sum_y = _embedding(x), _embedding(y)
    across = (sum_x * sum_y).sum() / (len(x) * len(y))
    return float(_mean_within(x, sum_x) + _mean_within(y, sum_y) - 2 * across)


def refuse_few(samples: int, features: int) -> None:
    """Raise UserError if there are too few samples for a covariance of so many features."""
    if samples < 2 * features:
        problem = f"A Frechet distance on {features} features needs at least {2 * features} images, not {samples}."
        raise UserError(problem, "Draw more samples; 5,000 are usual.")


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.cpu().double()
    return features.mean(0), torch.cov(features.T)


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root; eigenvalues that are negative through rounding count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _extended(features: Tensor) -> Tensor:
    """Return x' = (x / d^(1/2), 1), for which the kernel is (x'.y')^3."""
    features = features.cpu().double()
    return torch.cat([features / math.sqrt(features.shape[1]), features.new_ones(len(features), 1)], 1)


def _embedding(x: Tensor) -> Tensor:
    """Return the sum over the rows of x' (x) x' (x) x', shape (d + 1, (d + 1)^2).

    The inner product of the embeddings of x' and y' is the sum of the kernel over all pairs, at a cost that grows with
    N rather than N^2.
    """
    total = x.new_zeros(x.shape[1], x.shape[1] ** 2)
    for rows in torch.split(x, CHUNK):
        total += rows.T @ (rows[:, :, None] * rows[:, None, :]).flatten(1)
    return total


def _mean_within(x: Tensor, embedding: Tensor) -> Tensor:
    """Return the mean of the kernel over all pairs of different rows."""
    diagonal = x.square().sum(1).pow(3).sum()
    return (embedding.square().sum() - diagonal) / (len(x) * (len(x) - 1))
