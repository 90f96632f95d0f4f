"""Impulses found by an estimate: what is left of salt-and-pepper noise is then a matter of missing pixels."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.degrade.noise import GaussianNoise, SaltAndPepper
from dipddpm.core.degrade.operators import Identity, Mask, MaskedOperator

TOLERANCE = 0.1
"""Black or white that differs from the estimate by more than this is taken for an impulse."""


def without_impulses(case: Case, estimate: Tensor) -> Case:
    """The case without the pixels that look hit; the others are exact. Other noise, and blurs, are left as they are.

    Only black or white pixels can be hit, and not all of these are: the `estimate`, images (N, C, H, W) in [0, 1],
    says which of them to believe.
    """
    degradation = case.degradation
    pixels = isinstance(degradation.operator, Identity | Mask) or (
        isinstance(degradation.operator, MaskedOperator) and isinstance(degradation.operator.inner, Identity | Mask)
    )
    if not (isinstance(degradation.noise, SaltAndPepper) and pixels):
        return case
    extreme = (case.y <= 0) | (case.y >= 1)
    plausible = ~(extreme & ((case.y - estimate).abs() > TOLERANCE)).any(1, keepdim=True)
    mask = plausible * degradation.operator.measured(case.y)[:, :1]
    return replace(case, y=case.y * mask, degradation=Degradation(Mask(mask), GaussianNoise(0.0)))
