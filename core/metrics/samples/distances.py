"""Distances between two sets of features: of Gaussians fitted to them, and of the sets as they are.

Computed on the CPU in float64 throughout. On Inception's features the first would be the FID and the second the KID;
on ours neither is, and neither is to be called so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dipddpm.core.errors import UserError

KERNEL = "(x.y / d + 1)^3"
"""Of the kernel distance, d being the number of features (Binkowski et al., ICLR 2018, section 3)."""
CHUNK = 500
"""Samples whose third powers are in memory at once."""


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The squared Frechet distance of Gaussians fitted to features x (N, d) and y (M, d); never below 0.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Dowson & Landau 1982), which is how Heusel et al. (2017,
    eq. 6) measure samples too; covariances are unbiased. The fewer samples, the larger it gets, so only distances
    with equal N compare. Raises UserError for fewer than 2 d of either, where the covariance is mostly noise.
    """
    for features in (x, y):
        refuse_few(len(features), features.shape[1])
    mean_x, cov_x = _moments(x)
    mean_y, cov_y = _moments(y)
    # C_x C_y isn't symmetric, but has the eigenvalues of C_x^(1/2) C_y C_x^(1/2), which is.
    root = _root(cov_x)
    overlap = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    distance = (mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * overlap
    return max(0.0, float(distance))


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """The squared maximum mean discrepancy of features x (N, d) and y (M, d) under `KERNEL`.

    The unbiased estimator (Gretton et al., JMLR 2012, eq. 3) over all pairs: no subsets are drawn. Its mean doesn't
    depend on N; around 0 it is as often negative. Needs two of each (ValueError).
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("the kernel distance needs two samples at least")
    x, y = _extended(x), _extended(y)
    sum_x, sum_y = _embedding(x), _embedding(y)
    across = (sum_x * sum_y).sum() / (len(x) * len(y))
    return float(_mean_within(x, sum_x) + _mean_within(y, sum_y) - 2 * across)


def refuse_few(samples: int, features: int) -> None:
    """Raise UserError for fewer samples than a covariance of so many features needs."""
    if samples < 2 * features:
        problem = f"A Frechet distance on {features} features needs {2 * features} images at least, not {samples}."
        raise UserError(problem, "Draw more samples; 5,000 are usual.")


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    features = features.cpu().double()
    return features.mean(0), torch.cov(features.T)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues that rounding took below 0 count as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root


def _extended(features: Tensor) -> Tensor:
    """x' = (x / d^(1/2), 1), with which the kernel is (x'.y')^3."""
    features = features.cpu().double()
    return torch.cat([features / math.sqrt(features.shape[1]), features.new_ones(len(features), 1)], 1)


def _embedding(x: Tensor) -> Tensor:
    """The sum over the rows of x' (x) x' (x) x', shape (d + 1, (d + 1)^2).

    Its inner product with that of y' is the kernel's sum over all pairs, at a cost that grows with N, not with N^2.
    """
    total = x.new_zeros(x.shape[1], x.shape[1] ** 2)
    for rows in torch.split(x, CHUNK):
        total += rows.T @ (rows[:, :, None] * rows[:, None, :]).flatten(1)
    return total


def _mean_within(x: Tensor, embedding: Tensor) -> Tensor:
    """The mean of the kernel over all pairs of different rows."""
    itself = x.square().sum(1).pow(3).sum()
    return (embedding.square().sum() - itself) / (len(x) * (len(x) - 1))
