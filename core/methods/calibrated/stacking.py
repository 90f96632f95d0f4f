"""Stacking: the convex combination of candidates that best predicts held-out measurements, image by image."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

STRENGTH, WEAK_STRENGTH = 100.0, 1000.0
"""Pooling strengths for held-out values in general, and for those that say less: of noisy images, and of few blocks.

On the images that `candidates.TABLE` names, a strength of 300 for all changes the mean PSNR by less than 0.1 dB; where
images of all four sets are restored together, the smaller strength is 0.1 dB better.
"""
RIDGE = 0.01
"""Ridge of the least squares, relative to how far candidates are apart: those that hardly differ share the weight."""


def stack(errors: Tensor, where: Tensor, folds: int, strength: float = STRENGTH, least: float = 0.0) -> Tensor:
    """Return stacking weights (N, K), none negative and of sum 1, for K candidates of each of N images.

    `errors` (K, F N, M) are the candidates' errors at the held-out values of all folds; `where` (F N, M) is 1 at the
    values that count. The weights minimise the mean square of the combined error (Wolpert 1992; Breiman 1996). An image
    has few held-out values, so the mean error products of all images are added to its own, as if they were `strength`
    further values (partial pooling). Some images are much harder than others, so the products of each are pooled
    relative to the mean square of its candidates' errors. Weights below the share `least` of the largest one become 0.
    """
    candidates = len(errors)
    products = torch.einsum("knm,lnm,nm->nkl", errors, errors, where).double()
    products = products.view(folds, -1, candidates, candidates).sum(0)
    counts = where.sum(1).double().view(folds, -1, 1, 1).sum(0)
    scales = (products.diagonal(dim1=1, dim2=2).mean(1).view(-1, 1, 1) / counts.clamp(min=1)).clamp(min=1e-30)
    pooled = (products / scales).sum(0) / counts.sum().clamp(min=1)
    weights = simplex_weights((products + strength * scales * pooled) / (counts + strength)).to(errors.dtype)
    weights = weights * (weights >= least * weights.amax(1, keepdim=True))
    return weights / weights.sum(1, keepdim=True)


def simplex_weights(gram: Tensor) -> Tensor:
    """Return the weights w (N, K) on the simplex that minimise w' `gram` w, where `gram` is (N, K, K).

    The minimum on each support is known in closed form; the feasible one with the lowest score is taken. A single
    candidate is a support too, so the score is never worse than the best candidate's.
    """
    count = gram.shape[-1]
    squares = gram.diagonal(dim1=1, dim2=2)
    # The mean square of the difference of two candidates, halved: no error that all have in common changes it.
    apart = squares.mean(1) - gram.mean((1, 2))
    ridge = RIDGE * apart + 1e-9 * squares.mean(1) + 1e-30
    gram = gram + torch.diag_embed(ridge[:, None].expand_as(squares))
    best = gram.new_full((len(gram),), torch.inf)
    result = gram.new_zeros(len(gram), count)
    for size in range(1, count + 1):
        for support in combinations(range(count), size):
            part = gram[:, support][:, :, support]
            solution = torch.linalg.solve(part, part.new_ones(len(part), size, 1))[..., 0]
            weights = solution / solution.sum(1, keepdim=True)
            score = torch.einsum("nk,nkl,nl->n", weights, part, weights)
            better = (weights >= 0).all(1) & (score < best)
            best = torch.where(better, score, best)
            full = torch.zeros_like(result)
            full[:, support] = weights
            result = torch.where(better[:, None], full, result)
    return result
