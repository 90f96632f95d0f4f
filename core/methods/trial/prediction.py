"""Predict the PSNR of a restoration whose truth is unknown, with an interval that contains it in 90% of cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dipddpm.core.degrade import BlockMean, CircularBlur, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.methods.trial.perturbation import SHARE, noise_deviation
from dipddpm.core.methods.trial.tried import Tried

LEAST = 1e-7
"""The least mean squared error that is predicted, 70 dB; a file of 8 bits can't hold a better picture than 59 dB."""


@dataclass(frozen=True)
class Prediction:
    """A predicted PSNR in dB, of the restoration clipped to [0, 1], with a 90% interval."""

    psnr: float
    lower: float
    upper: float


def predict_from_trial(case: Case, tried: Tried, method: str, noise_error: float) -> Prediction | None:
    """Predict the PSNR of a restoration from all measurements by a method that was only tried; None if unknown."""
    del method
    operator = case.degradation.operator
    deviation = noise_deviation(case)
    variance = 0.0 if deviation is None else deviation.square().mean().item()
    if tried.rehearsed is None:
        share = 1.0
        if isinstance(operator, Mask):
            share = 1 - operator.measured(case.y).mean().item()
        elif isinstance(case.degradation.noise, SaltAndPepper):
            share = case.degradation.noise.hit
        return _posterior(tried.error * share, 1.5)
    known, _ = tried.rehearsed
    if isinstance(operator, Mask):
        share = operator.measured(case.y).mean().item()
        return _posterior(known * share + (1 - share) * tried.error, 1.5)
    if isinstance(operator, CircularBlur | BlockMean):
        return _posterior(known, 1.5)
    error = tried.error_deviation + 2 * noise_error * variance * (1 + SHARE**2)
    return _posterior(known, 1.5, tried.error, error)


def _posterior(error: float, deviation: float, unbiased: float | None = None, uncertainty: float = 1.0) -> Prediction:
    """Return the median and the 5% and 95% quantiles of the PSNR, given one or two estimates of the squared error.

    `error` is an estimate whose logarithm has a standard `deviation` in dB; the `unbiased` one has the standard error
    `uncertainty`, and may be negative.
    """
    centre = 10 * math.log10(max(error, LEAST))
    grid = np.linspace(centre - 6 * deviation, centre + 6 * deviation, 1001)
    log_density = -0.5 * ((grid - centre) / deviation) ** 2
    if unbiased is not None:
        log_density -= 0.5 * ((10 ** (grid / 10) - unbiased) / max(uncertainty, LEAST)) ** 2
    cumulative = np.cumsum(np.exp(log_density - log_density.max()))
    low, median, high = np.interp([0.05, 0.5, 0.95], cumulative / cumulative[-1], grid).tolist()
    return Prediction(-median, -high, -low)
