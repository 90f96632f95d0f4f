"""Predict from the errors at held-out measurements whether DIP improves a restoration."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from dipddpm.core.degrade import Mask
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import TrialErrors
from dipddpm.core.methods.calibrated.candidates import DIFFUSION, FIT
from dipddpm.core.methods.calibrated.stacking import simplex_weights
from dipddpm.core.methods.hold_out import Split

DIGITS = 5
"""Significant digits of the errors in a log."""
LEAST = 0.05
"""Gain in dB at held-out measurements up to which DIP adds nothing that is worth its time."""
FAR = 1.5
"""Value of `TrialErrors.reach` from which on held-out pixels are no examples of the missing ones."""
FLOOR = 0.02
"""Least part of an error that is counted as the candidate's own, and not as noise of the held-out values."""


class Outlook(NamedTuple):
    """The gains to be expected, predicted from held-out measurements alone, in dB."""

    by_dip: float
    """The gain of the weighted mean of all candidates over that of all but DIP."""
    over_best: float
    """The gain of the weighted mean of DIP and diffusion over the better of the two alone."""
    reach: float
    """How much farther from measured pixels the missing ones lie than the held-out ones."""

    @property
    def helps(self) -> bool:
        """True if DIP is expected to help."""
        return self.by_dip > LEAST

    @property
    def text(self) -> str:
        """The outlook in words."""
        by = f"{abs(self.by_dip):.2f} dB"
        if self.helps:
            text = f"DIP will help here: with it, held-out measurements are predicted better by {by}."
        elif self.by_dip < -LEAST:
            text = f"DIP won't help here: with it, held-out measurements are predicted worse by {by}."
        else:
            text = "DIP won't help here: without it, held-out measurements are predicted as well."
        if self.reach >= FAR:
            text += (
                f" But the missing pixels lie {self.reach:.1f} times as far from measured ones as the held-out ones, "
                "so this says little about the inside of the hole."
            )
        return text


def outlook(trial: TrialErrors) -> Outlook | None:
    """Predict gains from a trial; None without DIP, without diffusion, or without other folds to choose weights on.

    The weights are chosen on all folds but one, and scored on that one, for each fold in turn. So they can't profit
    from fitting the errors that they are scored on, and a candidate that adds nothing lowers the score.
    """
    if not {FIT, DIFFUSION} <= {*trial.candidates} or len(trial.products) < 2:
        return None
    products = torch.tensor(trial.products, dtype=torch.float64)
    indices = range(len(trial.candidates))
    fit, diffusion = map(trial.candidates.index, (FIT, DIFFUSION))
    alone = min(_error(products, [fit], trial.noise), _error(products, [diffusion], trial.noise))
    both = _error(products, [fit, diffusion], trial.noise)
    everything = _error(products, [*indices], trial.noise)
    others = _error(products, [index for index in indices if index != fit], trial.noise)
    return Outlook(10 * math.log10(others / everything), 10 * math.log10(alone / both), trial.reach)


def _error(products: Tensor, candidates: list[int], noise: float) -> float:
    """Return the mean square error, without the noise, of weights that are chosen on the other folds."""
    chosen = products[:, candidates][:, :, candidates]
    errors = []
    for fold, held_out in enumerate(chosen):
        others = torch.cat([chosen[:fold], chosen[fold + 1 :]]).mean(0)
        weights = simplex_weights(others[None])[0]
        errors.append(float(weights @ held_out @ weights))
    error = sum(errors) / len(errors)
    return max(error - noise, FLOOR * error)


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
