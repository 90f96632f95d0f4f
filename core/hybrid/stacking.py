"""The convex combination of candidates that best predicts what was hidden from them, image by image."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

STRENGTHS = (0.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
"""Hidden values that all images together are worth to one of them."""
ROUNDS = 6
"""Of reweighting, to come from squares to absolute values."""
DRAWS = 20
"""Of the bootstrap."""
SMALL = 0.02
"""Absolute errors below this, on images in [0, 1], count as squares do."""


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
    for _ in range(ROUNDS if robust else 0):
        combined = torch.einsum(
            "nk,knm->nm", _solve(errors, reweighted, _strength(errors, reweighted, least)), errors
        ).abs()
        reweighted = where * SMALL / combined.clamp(min=SMALL)
    generator = torch.Generator(where.device).manual_seed(0)
    shape = (DRAWS, *where.shape)
    chances = torch.empty(shape, device=where.device).exponential_(generator=generator)
    strength = _strength(errors, reweighted, least)
    return torch.stack([_solve(errors, reweighted * chance, strength) for chance in chances]).mean(0)


def _strength(errors: Tensor, where: Tensor, least: float) -> float:
    """How many values the images together are worth to each of them."""
    half = torch.arange(where.shape[1], device=where.device) % 2 == 0
    halves = [where * half, where * ~half]
    strengths = [strength for strength in STRENGTHS if strength >= least]
    scores = errors.new_zeros(len(strengths), len(where))
    for place, strength in enumerate(strengths):
        for chosen, tested in (halves, halves[::-1]):
            weights = _solve(errors, chosen, strength)
            scores[place] += (tested * torch.einsum("nk,knm->nm", weights, errors).square()).sum(1)
    # Some images are much harder than others; each is to have its say.
    scores = scores / scores.amin(0).clamp(min=1e-12)
    excess = scores - scores[scores.sum(1).argmin()]
    doubt = excess.std(1, correction=0) * len(where) ** 0.5
    return strengths[int((excess.sum(1) <= doubt).nonzero().max())]


def _solve(errors: Tensor, where: Tensor, strength: float) -> Tensor:
    """The weights of the least mean square: on each support in closed form, and of these the best that is feasible.

    The best candidate alone is among them, so its score, that of all images included, is never better.
    """
    count = len(errors)
    own = torch.einsum("knm,lnm,nm->nkl", errors, errors, where).double()
    values = where.sum(1).double()
    together = own.sum(0) / values.sum().clamp(min=1e-12)
    gram = (own + strength * together) / (values + strength).clamp(min=1e-12).view(-1, 1, 1)
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
    return answer.to(errors.dtype)
