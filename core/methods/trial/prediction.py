"""Predict the PSNR of a restoration whose truth is unknown, with an interval that contains it in 90% of cases."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import msgspec
import numpy as np

from dipddpm.core.methods.trial.features import Features

ASSET = "prediction.json"
"""The file of fitted models in the package's assets; `scripts/calibrate_prediction.py` makes it."""
MOST = 55.0
"""PSNRs from here on, in dB, aren't predicted where no pixel is exact: rounding to 8 bits alone makes 59."""
EXACT = ("inpaint", "holes")
"""Kinds of damage whose known pixels may be exact."""
NOMINAL = (0.05, 0.5, 0.95)
DOUBT = 0.5
"""Factor on the standard error of an unbiased estimate, since most noise levels are estimated better than they claim.

With it 71% of 177 pictures that were left out of the fit were predicted within 1 dB, without it 63%.
"""


@dataclass(frozen=True)
class Prediction:
    """A predicted PSNR in dB, of the restoration clipped to [0, 1], with a 90% interval."""

    psnr: float
    lower: float
    upper: float


class Model(msgspec.Struct):
    """A linear model of the mean squared error in dB, fitted to restorations of other pictures."""

    intercept: float
    weights: dict[str, float]
    methods: dict[str, float]
    """The offset of each method in dB; 0 for a method that wasn't in the fit."""
    deviations: dict[str, float]
    """The standard deviation of the model's error by method, in dB; that of other methods is under ``."""
    shift: float = 0.0
    """The offset of the unbiased estimate, in dB."""
    scale: float = 1.0
    """Factor on the width of the interval, by which 90% of other pictures lie within it."""
    cases: int = 0
    """The number of restorations in the fit."""

    def predict(self, features: Features, method: str) -> Prediction:
        """Return the median and the 90% interval of the PSNR.

        The model gives the density of the error in dB; an unbiased estimate of it, if there is one, narrows that as far
        as it is certain.
        """
        centre = self.intercept + self.methods.get(method, 0.0)
        centre += sum(weight * features.values.get(name, 0.0) for name, weight in self.weights.items())
        steps = np.linspace(-5, 5, 1001)
        grid = centre + self.deviations.get(method, self.deviations[""]) * steps
        density = -0.5 * steps**2
        if features.unbiased is not None:
            errors = 10 ** ((grid - self.shift) / 10)
            density -= 0.5 * ((errors - features.unbiased) / max(DOUBT * features.uncertainty, 1e-9)) ** 2
        cumulative = np.cumsum(np.exp(density - density.max()))
        low, median, high = np.interp(NOMINAL, cumulative / cumulative[-1], grid).tolist()
        return Prediction(-median, -median - self.scale * (high - median), -median + self.scale * (median - low))


@functools.cache
def models() -> dict[str, Model]:
    """Return the fitted models by kind of damage; with ` trial` at the end, those for a trial alone."""
    text = resources.files("dipddpm.core.assets").joinpath(ASSET).read_bytes()
    return msgspec.json.decode(text, type=dict[str, Model])


def predict(features: Features, method: str, *, final: bool) -> Prediction | None:
    """Predict the PSNR from features; None without a model for this kind of damage, and far outside of its fit."""
    model = models().get(features.kind if final else f"{features.kind} trial")
    prediction = model.predict(features, method) if model else None
    absurd = prediction and prediction.psnr >= MOST and features.kind not in EXACT
    return None if absurd else prediction
