"""The event about how far the results differ that a restoration averages. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from dipddpm.core.events.base import Count, Event
from dipddpm.core.means import mean


class SpreadMeasured(Event, tag="spread_measured", frozen=True):
    """How far the results differ that a restoration averages, and how often the truth lies between them, by image.

    `spread` is their standard deviation and `error` the error of the restoration, in 8-bit grey levels (root mean
    squares over the pixels). `half` is the share of the pixels whose true value lies in the central 50% of the
    `samples` samples: about half, if the truth is distributed like them. `wide` is the same for the level `wide_level`:
    0.9, or the widest that so few samples have. There are no shares if `samples` is 0, because the averaged results
    have different weights, and no shares and no `error` without a truth.
    """

    step: Count
    method: str
    spread: list[float]
    error: list[float] = []
    samples: Count = 0
    half: list[float] = []
    wide: list[float] = []
    wide_level: float = 0.0

    @property
    def sentence(self) -> str:
        """The means over the images, in a sentence."""
        results = f"{self.samples} samples" if self.samples else "averaged results"
        text = f"The {results} differ by {_quadratic_mean(self.spread):.1f} grey levels (standard deviation)"
        if self.error:
            text += f", and the error of their mean is {_quadratic_mean(self.error):.1f}"
        if self.wide:
            shares = {0.5: self.half, self.wide_level: self.wide}
            parts = [f"in their central {level:.0%} at {_mean(share):.0%}" for level, share in shares.items() if share]
            text += f"; the truth lies {' and '.join(parts)} of the pixels"
        return text


def _mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are finite; NaN without any."""
    return mean([value for value in values if math.isfinite(value)])


def _quadratic_mean(values: Sequence[float]) -> float:
    """Return the root of the mean square of the values that are finite."""
    finite = [value for value in values if math.isfinite(value)]
    # hypot doesn't overflow where the square of a value would.
    return math.hypot(*finite) / math.sqrt(len(finite)) if finite else math.nan
