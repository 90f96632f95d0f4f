"""Stacking: the convex combination of candidates that best predicts held-out measurements, image by image.

Three further rules adjust the stacking weights where the trial differs from the final restoration.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

POOLING_STRENGTHS = (0.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5)
"""Pooling strengths to choose from: the number of held-out values that all images together count as for each image."""
REWEIGHTING_ROUNDS = 6
"""Rounds of iteratively reweighted least squares, which minimise absolute values in place of squares."""
BOOTSTRAP_DRAWS = 20
SMALL = 0.02
"""Absolute errors below this, on images in [0, 1], are squared even in a robust fit, as in Huber's loss."""
CERTAINTY = 2.0
"""A pooling strength whose score is twice the best one's gets exp(-CERTAINTY) of the best one's share."""
FLOOR = 1e-3
"""Smallest eigenvalue of an estimated covariance, relative to its largest: estimates may come out negative."""
LEAD = 0.5
"""Weight that a candidate needs after a coarse trial, relative to the largest one; the DIP fits count as one."""
DECIDED = 3
"""Power to which the weights of DIP and diffusion are raised where the candidates differ in what is not measured.

Together with the square roots of the diffusion weights it was the best of a few settings, on six images each of
FashionMNIST's last training images and of glyphs, patches and leaves from number 100,020 on, blurred by 1.5 pixels with
noise of 2 grey levels.
"""
EPS = 1e-6


def stack(errors: Tensor, where: Tensor, *, robust: bool = False, min_strength: float = 0.0) -> Tensor:
    """Return stacking weights (N, K), none negative and of sum 1, for K candidates of each of N images.

    `errors` (K, N, M) are the candidates' errors at held-out values; `where` (N, M) is 1 at the values that count. The
    weights minimise the mean square of the combined error (Wolpert 1992; Breiman 1996), with `robust` the mean absolute
    value. An image has few held-out values, so the mean error products of all images are added to its own, as if they
    were `strength` further values (partial pooling). This strength is chosen by cross-validation: weights from each
    half of the held-out values are scored on the other half, and the largest strength is taken whose relative score,
    over all images, is within a standard error of the best (Breiman et al. 1984). It is at least `min_strength`.

    The result is the mean over draws of the Bayesian bootstrap (Rubin 1981): candidates that the held-out values can't
    tell apart share the weight, which averages their errors, and a candidate that is clearly worse gets none.
    """
    reweighted = where
    for _ in range(REWEIGHTING_ROUNDS if robust else 0):
        combined = torch.einsum(
            "nk,knm->nm",
            _image_weights(errors, reweighted, _split_half_strength(errors, reweighted, min_strength)),
            errors,
        ).abs()
        reweighted = where * SMALL / combined.clamp(min=SMALL)
    generator = torch.Generator(where.device).manual_seed(0)
    shape = (BOOTSTRAP_DRAWS, *where.shape)
    draws = torch.empty(shape, device=where.device).exponential_(generator=generator)
    strength = _split_half_strength(errors, reweighted, min_strength)
    return torch.stack([_image_weights(errors, reweighted * draw, strength) for draw in draws]).mean(0)


def stack_means(errors: Tensor, where: Tensor, scatter: Tensor) -> Tensor:
    """Return stacking weights (N, K), none negative and of sum 1, for the means of K candidates over F folds.

    `errors` (F, K, N, M) are the errors of each fold's candidates at the values that the fold holds out, where `where`
    (F, N, M) is 1 (cross-fitting: Wolpert 1992). These errors belong to single folds, but the weights are for the means
    over the folds, whose errors are smaller. So the variance that averaging removes is subtracted from the mean error
    products: (1 - 1/F) `scatter`, where `scatter` (N, K, K) is the covariance of the folds' deviations from their mean.

    Images are pooled as in `stack`, but no single strength is chosen: the weights for all strengths are averaged, image
    by image. The share of a strength in this mean falls with its error on each fold, for weights from the other folds.
    """
    counts = where.sum(2).double()
    products = torch.stack([_error_products(*fold) for fold in zip(errors, where, strict=True)])
    products = products - (1 - 1 / len(errors)) * counts[:, :, None, None] * scatter.double()
    shares = (-CERTAINTY * _excess_scores(products, counts, POOLING_STRENGTHS, floor=FLOOR)).softmax(0)
    solutions = [
        _simplex_weights(products.sum(0), counts.sum(0), strength, floor=FLOOR) for strength in POOLING_STRENGTHS
    ]
    return torch.einsum("sn,snk->nk", shares, torch.stack(solutions)).to(errors.dtype)


def _split_half_strength(errors: Tensor, where: Tensor, min_strength: float) -> float:
    """Choose the pooling strength by two-fold cross-validation on the even and the odd held-out values."""
    half = torch.arange(where.shape[1], device=where.device) % 2 == 0
    halves = [where * half, where * ~half]
    products = torch.stack([_error_products(errors, part) for part in halves])
    return _largest_adequate_strength(products, torch.stack([part.sum(1).double() for part in halves]), min_strength)


def _largest_adequate_strength(products: Tensor, counts: Tensor, min_strength: float = 0.0) -> float:
    """Return the largest pooling strength whose total excess score is within its standard error of the best one."""
    strengths = [strength for strength in POOLING_STRENGTHS if strength >= min_strength]
    excess = _excess_scores(products, counts, strengths)
    standard_error = excess.std(1, correction=0) * excess.shape[1] ** 0.5
    return strengths[int((excess.sum(1) <= standard_error).nonzero().max())]


def _excess_scores(products: Tensor, counts: Tensor, strengths: Sequence[float], floor: float = 0.0) -> Tensor:
    """Return by how much each strength's relative score, per image, exceeds that of the best strength overall, (S, N).

    `products` (P, N, K, K) are the sums of error products in P parts of the held-out values, and `counts` (P, N) the
    numbers of values in each part. Each part is scored with weights from all other parts.
    """
    scores = products.new_zeros(len(strengths), products.shape[1])
    for index, strength in enumerate(strengths):
        for part in range(len(products)):
            others = [other for other in range(len(products)) if other != part]
            weights = _simplex_weights(products[others].sum(0), counts[others].sum(0), strength, floor)
            scores[index] += torch.einsum("nk,nkl,nl->n", weights, products[part], weights)
    # Some images are much harder than others; dividing by an image's best score gives all of them equal influence.
    best_alone = products.sum(0).diagonal(dim1=1, dim2=2).amin(1)
    scores = scores / torch.maximum(scores.amin(0), 0.1 * best_alone).clamp(min=1e-12)
    return scores - scores[scores.sum(1).argmin()]


def _error_products(errors: Tensor, where: Tensor) -> Tensor:
    """Return the sums of products of errors (K, N, M) over the values that count, (N, K, K)."""
    return torch.einsum("knm,lnm,nm->nkl", errors, errors, where).double()


def _image_weights(errors: Tensor, where: Tensor, strength: float) -> Tensor:
    """Return the weights (N, K) that minimise the mean square of the combined errors (K, N, M)."""
    return _simplex_weights(_error_products(errors, where), where.sum(1).double(), strength).to(errors.dtype)


def _simplex_weights(products: Tensor, counts: Tensor, strength: float, floor: float = 0.0) -> Tensor:
    """Return the weights (N, K) on the simplex that minimise the mean square of the combined error.

    `products` (N, K, K) are the sums of error products over `counts` (N,) values, to which `strength` values with the
    mean products of all images are added. The minimum on each support is known in closed form; the feasible one with
    the lowest score is taken. A single candidate is a support too, so the score is never worse than the best
    candidate's. With `floor`, eigenvalues below this share of the largest one are raised to it.
    """
    count = products.shape[-1]
    pooled = products.sum(0) / counts.sum().clamp(min=1e-12)
    gram = (products + strength * pooled) / (counts + strength).clamp(min=1e-12).view(-1, 1, 1)
    if floor:
        eigenvalue, eigenvectors = torch.linalg.eigh(gram)
        eigenvalue = eigenvalue.clamp(min=floor * eigenvalue.amax(1, keepdim=True).clamp(min=1e-30))
        gram = eigenvectors @ torch.diag_embed(eigenvalue) @ eigenvectors.mT
    # Without this, identical candidates would make the matrix singular.
    gram = gram + torch.diag_embed(1e-9 * gram.diagonal(dim1=1, dim2=2) + 1e-30)
    best = torch.full_like(counts, torch.inf)
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


def select_leading(weights: Tensor, fits: int) -> Tensor:
    """Set all weights (N, K) but those of the leading candidates to 0; the first `fits` candidates are DIP fits.

    This rule is for trials on coarser measurements: in such a trial the second-best candidate is closer to the best
    than it will be with all measurements.
    """
    pooled = weights[:, :fits].sum(1, keepdim=True).expand(-1, fits)
    group_weights = torch.cat([pooled, weights[:, fits:]], 1)
    leading = weights * (group_weights >= LEAD * group_weights.amax(1, keepdim=True))
    return leading / leading.sum(1, keepdim=True)


def prefer_leader(weights: Tensor, fits: int) -> Tensor:
    """Shift weight (N, K) to DIP or to diffusion, whichever leads; the first `fits` candidates are DIP fits.

    The DIP fits count as one candidate; the weight left to diffusion is spread among its candidates. This rule is for
    trials with a blur, where candidates differ less in the measured frequencies than in the others. Where diffusion is
    trusted, its samples are similar, and which of them best predicts a blurred image says little about the frequencies
    that the blur removes; there their errors differ, so averaging helps.
    """
    dip_weights, diffusion_weights = weights[:, :fits], weights[:, fits:]
    dip_weight = dip_weights.sum(1, keepdim=True)
    dip_total = dip_weight**DECIDED / (dip_weight**DECIDED + (diffusion_weights**DECIDED).sum(1, keepdim=True))
    shares = torch.cat(
        [dip_total * dip_weights / dip_weight.clamp(min=EPS), (1 - dip_total) * _square_root_shares(diffusion_weights)],
        1,
    )
    return shares / shares.sum(1, keepdim=True)


def spread_samples(weights: Tensor, fits: int) -> Tensor:
    """Spread the weight of diffusion among its candidates; the first `fits` of the weights (N, K), DIP's, don't change.

    This rule is for trials on held-out values: samples that start from different images differ less than so few values
    can tell. On FashionMNIST's training images from number 55,200 on, with 70% of the pixels missing, the square root
    gained 0.1 dB.
    """
    dip_weights, diffusion_weights = weights[:, :fits], weights[:, fits:]
    return torch.cat([dip_weights, diffusion_weights.sum(1, keepdim=True) * _square_root_shares(diffusion_weights)], 1)


def _square_root_shares(weights: Tensor) -> Tensor:
    """Return the square roots of the weights, divided by their sum: closer to each other, and 0 where a weight is 0."""
    roots = weights.sqrt()
    return roots / roots.sum(1, keepdim=True).clamp(min=EPS)
