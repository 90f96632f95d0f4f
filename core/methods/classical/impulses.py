"""Detection of impulses without a model: they differ from what the pixels around them predict."""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.ndimage import median_filter

from dipddpm.core.degrade import Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import without_impulses
from dipddpm.core.methods.classical.holes import kriging
from dipddpm.core.methods.classical.kriging import Plane, map_planes


def detect_impulses(case: Case) -> Case:
    """Return the case with impulses as missing pixels, where they can be detected; other cases as they are.

    Impulses differ from a 3x3 median, or else from what kriging predicts: half of the black and white pixels that the
    median leaves, from all others, then the other half. Without being hidden, an impulse would predict itself. On
    twelve training images and twelve each of glyphs, patches and leaves from number 100,000 on, with a tenth of the
    pixels hit, the squared error that overlooked impulses leave is at most a seventh of that of the median alone,
    except on glyphs, where it is a third, the least that is possible there.
    """
    if not isinstance(case.degradation.noise, SaltAndPepper):
        return case
    found = without_impulses(case, map_planes(_median, case.y))
    operator = found.degradation.operator
    if not isinstance(operator, Mask):
        return case
    extreme = ((case.y <= 0) | (case.y >= 1)).any(1, keepdim=True) & (operator.mask > 0)
    # The halves must not depend on the batch or the device.
    half = torch.rand(extreme.shape[2:], generator=torch.Generator().manual_seed(0)).to(case.y.device) < 0.5
    estimate = case.y
    for part in (half, ~half):
        mask = operator.mask * ~(extreme & part)
        hidden = replace(found, y=case.y * mask, degradation=replace(found.degradation, operator=Mask(mask)))
        estimate = torch.where(mask > 0, estimate, kriging(hidden))
    return without_impulses(case, estimate)


def _median(y: Plane) -> Plane:
    restored: Plane = median_filter(y, size=3, mode="reflect")
    return restored
