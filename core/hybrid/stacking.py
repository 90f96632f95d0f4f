"""The convex combination of candidates that best predicts what was hidden from them, image by image."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

STRENGTHS = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Hidden values that all images together are worth to one of them."""
ROUNDS = 6
"""Of reweighting, to come from squares to absolute values."""
SMALL = 0.02
"""Absolute errors below this, on images in [0, 1], count as squares do."""


def stack(errors: Tensor, where: Tensor, *, robust: bool = False) -> Tensor:
    """Weights (N, K), none negative and of sum 1, for K candidates of each of N images.

    `errors` (K, N, M) are those at hidden values, `where` (N, M) is 1 at the values that count. Minimised is the mean
    square of the combined error (Wolpert 1992; Breiman 1996), or the mean absolute value with `robust`. An image's
    hidden values are few, so what the combination does to those of all images is added, as so many values as serve
    best: half of the hidden values choose weights for the other half, and all images are scored together. Each
    candidate more must earn what it could have had by chance (Akaike's final prediction error).

    The combination's score, that of all images included, is never worse than that of the best candidate alone.
    """
    reweighted = where
    for _ in range(ROUNDS if robust else 1):
        weights = _pooled(errors, reweighted)
        if robust:
            combined = torch.einsum("nk,knm->nm", weights, errors).abs()
            reweighted = where * SMALL / combined.clamp(min=SMALL)
    return weights


def _pooled(errors: Tensor, where: Tensor) -> Tensor:
    """The weights for mean squares, pooled over the images as far as serves."""
    half = torch.arange(where.shape[1], device=where.device) % 2 == 0
    halves = [where * half, where * ~half]
    scores = []
    for strength in STRENGTHS:
        score = errors.new_zeros(())
        for chosen, tested in (halves, halves[::-1]):
            weights = _solve(errors, chosen, strength)
            score += (tested * torch.einsum("nk,knm->nm", weights, errors).square()).sum()
        scores.append(score)
    best = int(torch.stack(scores).argmin())
    return _solve(errors, where, STRENGTHS[best])


def _solve(errors: Tensor, where: Tensor, strength: float) -> Tensor:
    """The best weights on each support in closed form, and of these the best support that has none below zero."""
    count = len(errors)
    own = torch.einsum("knm,lnm,nm->nkl", errors, errors, where).double()
    values = where.sum(1).double()
    together = own.sum(0) / values.sum().clamp(min=1e-12)
    gram = (own + strength * together) / (values + strength).clamp(min=1e-12).view(-1, 1, 1)
    trials = (values + strength).clamp(min=2.0 * count)
    ridge = 1e-9 * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-30).view(-1, 1, 1)
    best = torch.full_like(values, torch.inf)
    answer = gram.new_zeros(len(gram), count)
    for size in range(1, count + 1):
        for support in combinations(range(count), size):
            part = gram[:, support][:, :, support] + ridge * torch.eye(size, device=gram.device, dtype=gram.dtype)
            solved = torch.linalg.solve(part, part.new_ones(len(part), size, 1))[..., 0]
            weights = solved / solved.sum(1, keepdim=True)
            score = torch.einsum("nk,nkl,nl->n", weights, part, weights) * (trials + size) / (trials - size)
            better = (weights >= 0).all(1) & (score < best)
            best = torch.where(better, score, best)
            full = torch.zeros_like(answer)
            full[:, support] = weights
            answer = torch.where(better[:, None], full, answer)
    return answer.to(errors.dtype)
