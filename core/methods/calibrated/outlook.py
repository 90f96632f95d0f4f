"""The errors at held-out measurements of a calibrated restoration, pooled, from which its gain can be predicted."""

from __future__ import annotations

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dipddpm.core.degrade import Mask
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import TrialErrors
from dipddpm.core.methods.hold_out import Split

DIGITS = 5
"""Significant digits of the errors in a log."""


def trial_errors(kinds: tuple[str, ...], errors: Tensor, split: Split, case: Case, folds: int) -> TrialErrors:
    """Pool the errors (K, F N, M) of the candidates `kinds` at the held-out values of a split of the case."""
    products = torch.einsum("knm,lnm->nkl", errors, errors).double()
    counts = split.where.flatten(1).sum(1).double().clamp(min=1)
    products = (products / counts.view(-1, 1, 1)).view(folds, -1, len(kinds), len(kinds))
    scales = products.diagonal(dim1=2, dim2=3).mean((0, 2)).clamp(min=1e-30)
    pooled = (products / scales.view(1, -1, 1, 1)).mean(1)
    noise = 0.0
    if split.noise is not None:
        noise = float((split.noise.double().view(folds, -1).mean(0) / scales).mean())
    return TrialErrors(
        candidates=list(kinds),
        products=[[[_rounded(value) for value in row] for row in fold] for fold in pooled.tolist()],
        noise=_rounded(noise),
        reach=_rounded(reach(split, case)),
    )


def reach(split: Split, case: Case) -> float:
    """Return how much farther from measured pixels the missing ones lie than the held-out ones.

    It is the ratio of the mean distances to the nearest pixel that is measured (and, for those that are held out, not
    held out itself). 1 for an operator that isn't a mask, and where nothing is missing.
    """
    operator, trial = case.degradation.operator, split.case.degradation.operator
    if not isinstance(operator, Mask) or not isinstance(trial, Mask):
        return 1.0
    missing, hidden = (
        1 - operator.mask,
        operator.mask.repeat(len(trial.mask) // len(operator.mask), 1, 1, 1) - trial.mask,
    )
    if not missing.any() or not hidden.any():
        return 1.0
    return _mean_distance(missing, operator.mask) / _mean_distance(hidden, trial.mask)


def _mean_distance(where: Tensor, measured: Tensor) -> float:
    """Return the mean distance in pixels from the pixels where a mask is 1 to the nearest measured one."""
    distances = [torch.from_numpy(distance_transform_edt(each[0].cpu().numpy() == 0)) for each in measured]
    chosen = where[:, 0].cpu().double()
    return float((torch.stack(distances) * chosen).sum() / chosen.sum())


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
