"""The convex combination of candidates that best predicts what was hidden from them, image by image.

Where a trial is not quite what the candidates are wanted for, three rules say what its weights mean for the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

STRENGTHS = (0.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
"""Hidden values that all images together are worth to one of them."""
REWEIGHTING_ROUNDS = 6
"""Of reweighting, to come from squares to absolute values."""
BOOTSTRAP_DRAWS = 20
"""Of the bootstrap."""
SMALL = 0.02
"""Absolute errors below this, on images in [0, 1], count as squares do."""
CERTAINTY = 2.0
"""How many times less a choice counts, in powers of e, whose score is twice the best."""
FLOOR = 1e-3
"""The least eigenvalue of an estimated covariance, in shares of the largest: estimates may come out negative."""
LEAD = 0.5
"""The share that a candidate needs after a coarse trial, in shares of the largest one; the fits count as one."""
DECIDED = 3
"""The power of shares where DIP and diffusion part in what nobody measured.

With the square root among the samples it was the best of a few on six images each of FashionMNIST's last training
images and of glyphs, patches and leaves from number 100,020 on, blurred by 1.5 pixels with noise of 2 grey levels.
"""
EPS = 1e-6


def stack(errors: Tensor, where: Tensor, *, robust: bool = False, least: float = 0.0) -> Tensor:
    """Weights (N, K), none negative and of sum 1, for K candidates of each of N images.

    `errors` (K, N, M) are those at hidden values, `where` (N, M) is 1 at the values that count. Minimised is the mean
    square of the combined error (Wolpert 1992; Breiman 1996), or the mean absolute value with `robust`. An image's
    hidden values are few, so what the combination does to those of all images is added, as so many values as serve
    best: half of the hidden values choose weights for the other half, and of all numbers of values the largest is taken
    whose relative score, over all images, is within a standard error of the best (Breiman et al. 1984).

    `least` is that number at least.

    The result is the mean over draws of the Bayesian bootstrap (Rubin 1981): candidates that the hidden values can't
    tell apart share the weight, which averages their errors, and one that is clearly worse gets none.
    """
    reweighted = where
    for _ in range(REWEIGHTING_ROUNDS if robust else 0):
        combined = torch.einsum(
            "nk,knm->nm", _solve(errors, reweighted, _strength_of(errors, reweighted, least)), errors
        ).abs()
        reweighted = where * SMALL / combined.clamp(min=SMALL)
    generator = torch.Generator(where.device).manual_seed(0)
    shape = (BOOTSTRAP_DRAWS, *where.shape)
    chances = torch.empty(shape, device=where.device).exponential_(generator=generator)
    strength = _strength_of(errors, reweighted, least)
    return torch.stack([_solve(errors, reweighted * chance, strength) for chance in chances]).mean(0)


def stack_means(errors: Tensor, where: Tensor, scatter: Tensor) -> Tensor:
    """Weights (N, K), none negative and of sum 1, for the means of K candidates over F folds, each hiding other values.

    `errors` (F, K, N, M) are those at what a fold hid, where `where` (F, N, M) is 1 (cross-fitting: Wolpert 1992). They
    are a single fold's, while the means are what is to be combined: what averaging takes away, 1 - 1/F of `scatter`
    (N, K, K), the covariance of a fold's deviations from the mean, is taken off the mean products of errors.

    The other images have their say as in `stack`, but how many values they are worth is not chosen: each number of
    these has weights of its own, and counts for an image the less, the worse they are at each of its folds when chosen
    by all others.
    """
    values = where.sum(2).double()
    own = torch.stack([_products(*fold) for fold in zip(errors, where, strict=True)])
    own = own - (1 - 1 / len(errors)) * values[:, :, None, None] * scatter.double()
    shares = (-CERTAINTY * _excess(own, values, STRENGTHS, floor=FLOOR)).softmax(0)
    solutions = [_least(own.sum(0), values.sum(0), strength, floor=FLOOR) for strength in STRENGTHS]
    return torch.einsum("sn,snk->nk", shares, torch.stack(solutions)).to(errors.dtype)


def _strength_of(errors: Tensor, where: Tensor, least: float) -> float:
    """Of halves, which are each other's test."""
    half = torch.arange(where.shape[1], device=where.device) % 2 == 0
    halves = [where * half, where * ~half]
    own = torch.stack([_products(errors, part) for part in halves])
    return _strength(own, torch.stack([part.sum(1).double() for part in halves]), least)


def _strength(own: Tensor, values: Tensor, least: float = 0.0) -> float:
    """How many values the images together are worth to each of them: the most that is within a standard error of what
    serves best."""
    strengths = [strength for strength in STRENGTHS if strength >= least]
    excess = _excess(own, values, strengths)
    doubt = excess.std(1, correction=0) * excess.shape[1] ** 0.5
    return strengths[int((excess.sum(1) <= doubt).nonzero().max())]


def _excess(own: Tensor, values: Tensor, strengths: Sequence[float], floor: float = 0.0) -> Tensor:
    """How far each image's relative score for each strength is above that for the best over all images, (S, N).

    For the products of errors of parts, (P, N, K, K), and the parts' numbers of values, (P, N): each part is tested on
    what all others choose.
    """
    scores = own.new_zeros(len(strengths), own.shape[1])
    for index, strength in enumerate(strengths):
        for part in range(len(own)):
            others = [other for other in range(len(own)) if other != part]
            weights = _least(own[others].sum(0), values[others].sum(0), strength, floor)
            scores[index] += torch.einsum("nk,nkl,nl->n", weights, own[part], weights)
    # Some images are much harder than others; each is to have its say.
    alone = own.sum(0).diagonal(dim1=1, dim2=2).amin(1)
    scores = scores / torch.maximum(scores.amin(0), 0.1 * alone).clamp(min=1e-12)
    return scores - scores[scores.sum(1).argmin()]


def _products(errors: Tensor, where: Tensor) -> Tensor:
    """Sums of the products of errors (K, N, M) where they count, (N, K, K)."""
    return torch.einsum("knm,lnm,nm->nkl", errors, errors, where).double()


def _solve(errors: Tensor, where: Tensor, strength: float) -> Tensor:
    """The weights (N, K) of the least mean square of errors (K, N, M)."""
    return _least(_products(errors, where), where.sum(1).double(), strength).to(errors.dtype)


def _least(own: Tensor, values: Tensor, strength: float, floor: float = 0.0) -> Tensor:
    """The weights of the least mean square: on each support in closed form, and of these the best that is feasible.

    The best candidate alone is among them, so its score, that of all images included, is never better.
    """
    count = own.shape[-1]
    together = own.sum(0) / values.sum().clamp(min=1e-12)
    gram = (own + strength * together) / (values + strength).clamp(min=1e-12).view(-1, 1, 1)
    if floor:
        value, vector = torch.linalg.eigh(gram)
        value = value.clamp(min=floor * value.amax(1, keepdim=True).clamp(min=1e-30))
        gram = vector @ torch.diag_embed(value) @ vector.mT
    # Candidates that are alike would make it singular.
    gram = gram + torch.diag_embed(1e-9 * gram.diagonal(dim1=1, dim2=2) + 1e-30)
    best = torch.full_like(values, torch.inf)
    answer = gram.new_zeros(len(gram), count)
    for size in range(1, count + 1):
        for support in combinations(range(count), size):
            part = gram[:, support][:, :, support]
            solved = torch.linalg.solve(part, part.new_ones(len(part), size, 1))[..., 0]
            weights = solved / solved.sum(1, keepdim=True)
            score = torch.einsum("nk,nkl,nl->n", weights, part, weights)
            better = (weights >= 0).all(1) & (score < best)
            best = torch.where(better, score, best)
            full = torch.zeros_like(answer)
            full[:, support] = weights
            answer = torch.where(better[:, None], full, answer)
    return answer


def keep_leading(weights: Tensor, fits: int) -> Tensor:
    """Only the candidates that lead, for shares (N, K), of which the first `fits` are of DIP.

    After a trial with coarser measurements: from so little the second best is not as far behind as it will be.
    """
    together = weights[:, :fits].sum(1, keepdim=True).expand(-1, fits)
    counted = torch.cat([together, weights[:, fits:]], 1)
    kept = weights * (counted >= LEAD * counted.amax(1, keepdim=True))
    return kept / kept.sum(1, keepdim=True)


def prefer_leader(weights: Tensor, fits: int) -> Tensor:
    """DIP or diffusion, whichever leads, as `leading` counts; what is left to diffusion is spread among its samples.

    After a trial with a blur: what was measured tells less apart than what was not. Where diffusion is trusted its
    samples are alike, and which of them agrees best with a blurred image says little of the rest; their errors differ.
    """
    dip_shares, diffusion_shares = weights[:, :fits], weights[:, fits:]
    lead = dip_shares.sum(1, keepdim=True)
    trusted = lead**DECIDED / (lead**DECIDED + (diffusion_shares**DECIDED).sum(1, keepdim=True))
    shares = torch.cat([trusted * dip_shares / lead.clamp(min=EPS), (1 - trusted) * _evenly(diffusion_shares)], 1)
    return shares / shares.sum(1, keepdim=True)


def spread_samples(weights: Tensor, fits: int) -> Tensor:
    """DIP's share as it is, and the rest spread among the samples, for shares (N, K), the first `fits` of them DIP's.

    After a trial on hidden values: samples that begin in different ways differ less than so few values can tell.
    Inpainting 70% of FashionMNIST's training images from number 55,200 on, the square root gained 0.1 dB.
    """
    dip_shares, diffusion_shares = weights[:, :fits], weights[:, fits:]
    return torch.cat([dip_shares, diffusion_shares.sum(1, keepdim=True) * _evenly(diffusion_shares)], 1)


def _evenly(weights: Tensor) -> Tensor:
    """Shares of sum 1 that lie nearer together; 0 stays 0."""
    roots = weights.sqrt()
    return roots / roots.sum(1, keepdim=True).clamp(min=EPS)
