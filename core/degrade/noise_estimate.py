"""Estimation of the kind and the level of the noise in a picture that was given damaged."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.special import softmax
from torch import Tensor

from dipddpm.core.degrade.estimate import estimate_sigma
from dipddpm.core.degrade.flat_patches import FlatPatches, measure_flat_patches
from dipddpm.core.degrade.measure import Degradation
from dipddpm.core.degrade.noise import (
    GaussianNoise,
    Noise,
    PoissonGaussianNoise,
    PoissonNoise,
    SaltAndPepper,
    UnknownNoise,
)
from dipddpm.core.degrade.noise_curve import PENALTY, Curve, CurveKind, Range, fit_curve

Kind: TypeAlias = Literal["none", "gaussian", "poisson", "poisson-gaussian", "salt-and-pepper"]

S = TypeVar("S", bound=np.generic)

_TILE = 128
_LARGEST = 1e4
"""Largest magnitude of values; larger ones are far from any picture, and their squares would overflow."""
_MAX_VALUES = 1_200_000
"""Number of values above which only a part of a picture is measured."""
QUIET = 1.5
"""Level in grey levels below which a picture counts as (nearly) free of noise."""
_MIN_HIT = 0.002
"""Least share of impulses; fewer black or white dots may belong to the picture."""
_WINDOW = 9
"""Side in pixels of the surroundings with which black and white dots are compared."""
_OTHERS = 0.25
"""Least share of other values in these surroundings."""
_FAR = 0.1
"""Least distance of their mean from black or white."""
_DEVIATIONS = 3.5
"""Least such distance as a multiple of their standard deviation; so few values of other noise are as far away."""
_ONE_SIDED = 0.1
"""Least ratio of black to white dots or of white to black ones; impulses have both in equal numbers."""
_MAX_COUNTS = 120
"""Largest number of levels at which files of 8 bits still show whether they are spaced as photon counts."""
_GREY = 1.5 / 255
"""Spacing of levels below which they are the grey levels of the file."""
_NEAR = 0.2
"""Relative difference of the spacing of levels and the variance of one photon, below which the levels are counts."""
_COUNTS = 15.0
"""Misfit by which such levels favour Poisson noise."""
_OVERCONFIDENCE = 1.5
"""Factor that reduces misfits such that answers with certainty p are right in about a share p of the tuning cases."""
_ENOUGH = 300
"""Least number of values among which impulses are counted."""
_CORRELATED = 5.0
"""Ratio of the energies of broad and fine structures above which noise counts as correlated between neighbours."""
_COLOURED = 4.0
"""Least level of correlated noise in grey levels; less may be texture."""
_NOTHING = 0.5
"""Level in grey levels at which rounding is the only noise."""
_UNSURE = 0.3
"""Certainty where the assumptions fail: for correlated noise, and for pictures without enough patches."""
_SYSTEMATIC = 0.03
"""Relative error of a level that doesn't shrink with the size of the picture."""
_OWN = 1.0
"""Noise in grey levels that pictures may have had before."""
_QUANTILE = 1.645


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise that was found in a picture."""

    kind: Kind
    sigma: float = 0.0
    """The standard deviation of the Gaussian part, in 8-bit grey levels."""
    photons: float = 0.0
    """The mean photon count of a white pixel; 0 without a Poisson part."""
    hit: float = 0.0
    """The share of values that became black or white."""
    lower: float = 0.0
    """The lower end of the 90% interval: of `hit` if positive, of `photons` without `sigma`, or of `sigma`."""
    upper: float = 0.0
    certainty: float = 1.0
    """The probability that the kind is right."""
    correlated: bool = False
    """True if the noise is correlated between neighbouring pixels, as in enlarged pictures and in JPEG files."""

    @property
    def sentence(self) -> str:
        """A sentence for people, such as `Gaussian noise of sigma 24.6 (24.0 to 25.3 grey levels), certain to 99%`."""
        sure = f"certain to {min(99, math.floor(100 * self.certainty))}%"
        grey = f"{self.lower:.1f} to {self.upper:.1f} grey levels"
        photons = f"{_digits(self.photons)} photons at white"
        if self.correlated:
            return (
                f"The noise is correlated between neighbours, as in enlarged pictures and JPEG files; its standard "
                f"deviation is about {self.sigma:.1f} ({grey}), {sure}"
            )
        match self.kind:
            case "none":
                return f"Hardly any noise: at most sigma {self.upper:.1f}, {sure}"
            case "gaussian":
                return f"Gaussian noise of sigma {self.sigma:.1f} ({grey}), {sure}"
            case "poisson":
                return f"Poisson noise of {photons} ({_digits(self.lower)} to {_digits(self.upper)}), {sure}"
            case "poisson-gaussian":
                return f"Poisson noise of {photons} and Gaussian noise of sigma {self.sigma:.1f}, {sure}"
            case "salt-and-pepper":
                more = f" and Gaussian noise of sigma {self.sigma:.1f}" if self.sigma else ""
                share = f"{self.lower:.1%} to {self.upper:.1%}"
                return f"Impulses at {self.hit:.1%} of the values ({share}){more}, {sure}"

    def noise(self) -> Noise:
        """Return the noise for a degradation."""
        sigma = self.sigma / 255
        match self.kind:
            case "poisson":
                return PoissonNoise(self.photons)
            case "poisson-gaussian":
                return PoissonGaussianNoise(self.photons, sigma)
            case "salt-and-pepper":
                return SaltAndPepper(self.hit, sigma)
            case _:
                return GaussianNoise(sigma)


def _digits(photons: float) -> str:
    return f"{photons:.1f}" if photons < 100 else f"{photons:.0f}"


def resolve_noise(y: Tensor, degradation: Degradation) -> tuple[Degradation, NoiseEstimate | None]:
    """Return the degradation with the noise that is estimated from y (N, C, H, W), if it is unknown, and the estimate.

    All images are taken to have the same noise. A degradation whose noise is known is returned with None.
    """
    if not isinstance(degradation.noise, UnknownNoise):
        return degradation, None
    estimate = estimate_noise(y.flatten(0, 1), degradation.operator.measured(y).flatten(0, 1))
    return replace(degradation, noise=estimate.noise(), blind=False), estimate


def estimate_noise(y: Tensor, measured: Tensor) -> NoiseEstimate:
    """Estimate the noise of planes y (C, H, W), whose values count where `measured`, shaped like y, is 1.

    Values that lie in [0, 1] are taken as clipped, and whole grey levels as rounded, as in files of 8 bits. The
    variance of flat patches against their brightness tells Gaussian noise from Poisson noise (Foi et al., IEEE TIP
    2008). Impulses are black and white dots that clipped noise doesn't explain. The constants were chosen on drawn
    noise of 5 to 75 grey levels and of 5 to 200 photons, on the pictures coffee, chelsea, motorcycle, brick, grass,
    clock and moon of scikit-image; those for impulses and for certainty also on coffee, chelsea, clock and moon made
    darker, brighter, and with black and white surroundings. On ten other pictures (`benchmarks/noise_levels.py`), all
    of 56 draws of impulses, 98 of Gaussian noise, and 68 of 70 of Poisson noise were recognised; levels were within 10%
    in 100%, 99% and 96%. One of the ten, retina, had shown before that black surroundings needed care.

    Raises UserError if no block of 3x3 pixels is measured.
    """
    planes = y.detach().cpu().numpy().astype(np.float32)
    known = measured.detach().cpu().numpy() > 0
    planes, known = _sample(planes), _sample(known & np.isfinite(planes))
    planes = np.where(known, np.clip(planes, -_LARGEST, _LARGEST), 0)
    values = planes[known]
    levels = values * 255
    rounding = 1 / 12 / 255**2 if np.abs(levels - np.round(levels)).max(initial=0) < 1e-3 else 0.0
    limits: Range = "clipped" if values.min(initial=0) >= 0 and values.max(initial=0) <= 1 else "unbounded"
    extremes = known & ((planes == 0) | (planes == 1))
    flat = measure_flat_patches(planes, known)
    if flat is None:
        cleaned, mask = torch.from_numpy(planes), torch.from_numpy(known.astype(np.float32))
        sigma = float(estimate_sigma(cleaned[None], mask[None])[0]) * 255
        return NoiseEstimate("gaussian", sigma, lower=sigma / 2, upper=2 * sigma, certainty=_UNSURE)
    spacing = _spacing(values)
    without = _smooth(flat, limits, rounding, spacing)
    counts = without.kind == "poisson" and _counted(spacing, 1 / without.photons)
    if counts or extremes.sum() <= _MIN_HIT / 2 * known.sum() or limits == "unbounded":
        return without
    return _impulses(planes, known, rounding) or without


def _sample(planes: NDArray[S]) -> NDArray[S]:
    """Return evenly spaced tiles of large planes, as planes of their own."""
    count, height, width = planes.shape
    rows, columns = height // _TILE, width // _TILE
    step = count * rows * columns * _TILE**2 // _MAX_VALUES + 1
    if step == 1 or not rows * columns:
        return planes
    whole = planes[:, : rows * _TILE, : columns * _TILE].reshape(count, rows, _TILE, columns, _TILE)
    tiles = whole.swapaxes(2, 3).reshape(-1, _TILE, _TILE)
    return tiles[::step]


def _spacing(values: NDArray[np.float32]) -> float:
    """Return the spacing of values that are multiples of one number, as photon counts are; 0 for any other values."""
    levels = np.unique(values[:: max(1, len(values) // 100_000)])
    if not 2 < len(levels) <= _MAX_COUNTS:
        return 0.0
    spacing = float(np.median(np.diff(levels)))
    if spacing < _GREY:
        return 0.0
    for _ in range(3):  # refine what was rounded to grey levels
        counts = np.round(levels / spacing)
        spacing = float(levels @ counts / (counts @ counts))
    return spacing if np.abs(levels - spacing * counts).max() * 255 < 0.6 else 0.0


def _counted(spacing: float, gain: float) -> bool:
    """Return whether values are spaced as photon counts of this gain are."""
    return spacing > 0 and abs(math.log(gain / spacing)) < _NEAR


def _smooth(flat: FlatPatches, limits: Range, rounding: float, spacing: float) -> NoiseEstimate:
    """Return the noise, if there are no impulses."""
    observed = 255 * math.sqrt(float(np.median(flat.moments.variance)))
    if observed < _NOTHING:
        return NoiseEstimate("none", observed, upper=_OWN, certainty=0.99)
    kinds: tuple[CurveKind, ...] = ("gaussian", "poisson", "poisson-gaussian")
    fits = {kind: fit_curve(flat.moments, kind, limits, rounding) for kind in kinds}
    misfits = np.array([fits[kind][1] + PENALTY[kind] for kind in kinds])
    if _counted(spacing, fits["poisson"][0].gain):
        misfits[kinds.index("poisson")] = misfits.min() - _COUNTS
    # Misfits beyond the number of variances show that the errors are larger than assumed.
    scale = max(1.0, misfits.min() / len(flat.moments.mean))
    chances = softmax(-misfits / 2 / scale / _OVERCONFIDENCE)
    kind = kinds[int(chances.argmax())]
    curve = fits[kind][0]
    level, certainty = _level(fits["gaussian"][0]), float(chances.max())
    correlated = flat.colouring > _CORRELATED and 255 * flat.deviation > _COLOURED
    if level < QUIET and not correlated:
        return NoiseEstimate("none", level, upper=level + _OWN, certainty=0.95)
    if correlated:
        level = 255 * flat.deviation
        low, high = level / 2, 2 * level
        return NoiseEstimate("gaussian", level, lower=low, upper=high, certainty=_UNSURE, correlated=True)
    error = _QUANTILE * math.hypot(_SYSTEMATIC, 1 / math.sqrt(2 * flat.moments.count.sum()))
    if kind == "poisson":
        photons = 1 / curve.gain
        low, high = photons * (1 - 2 * error), photons * (1 + 2 * error)
        return NoiseEstimate(kind, photons=photons, lower=low, upper=high, certainty=certainty)
    sigma = _level(curve)
    low, high = math.sqrt(max(0, (sigma * (1 - error)) ** 2 - _OWN**2)), sigma * (1 + error)
    photons = 1 / curve.gain if kind == "poisson-gaussian" else 0.0
    return NoiseEstimate(kind, sigma, photons, lower=low, upper=high, certainty=certainty)


def _level(curve: Curve) -> float:
    """Return the standard deviation of the Gaussian part in grey levels."""
    return 255 * math.sqrt(curve.offset)


def _impulses(planes: NDArray[np.float32], known: NDArray[np.bool_], rounding: float) -> NoiseEstimate | None:
    """Return the impulses, or None if clipped noise or the picture itself explains the black and white values.

    Black and white values are counted apart, each where the other values around are so far from it, in multiples of
    their spread, that hardly any noise reaches it. Black or white parts of the picture say nothing: values with a
    neighbour of the same extreme aren't counted. Since impulses are independent, that doesn't change their share.
    """
    others = known & (planes > 0) & (planes < 1)
    flat = measure_flat_patches(planes, others)
    if flat is None:
        return None
    curve, _ = fit_curve(flat.moments, "gaussian", "inside", rounding)
    number, total, squares = (
        uniform_filter(others * planes**power, size=(1, _WINDOW, _WINDOW), mode="constant") for power in range(3)
    )
    mean = total / np.maximum(number, 0.01)
    spread = np.maximum(squares / np.maximum(number, 0.01) - mean**2, curve.offset)
    shares: list[float] = []
    counted = 0
    for value in (0, 1):
        here = (planes == value) & known
        neighbours = uniform_filter(here.astype(np.float32), size=(1, 3, 3), mode="constant") * 9 - here
        far = np.abs(mean - value)
        apart = (far > _FAR) & (far > _DEVIATIONS * np.sqrt(spread))
        counting = known & (number > _OTHERS) & (neighbours < 0.5) & apart
        if counting.sum() < _ENOUGH:
            continue
        shares.append(float(here[counting].mean()))
        counted += int(counting.sum())
    if not shares:
        return None
    factor = 2 / len(shares)  # one extreme counts for both, if nothing is known about the other
    hit = factor * sum(shares)
    if hit < _MIN_HIT or min(shares) < _ONE_SIDED * max(shares):
        return None
    sigma = _level(curve)
    error = _QUANTILE * math.hypot(math.sqrt(factor * hit / counted), 0.03 * hit)
    low, high = max(0.0, hit - error), min(1.0, hit + error)
    gaussian = sigma if sigma > QUIET else 0.0
    certainty = 1 - 0.5 * _MIN_HIT / hit
    return NoiseEstimate("salt-and-pepper", gaussian, hit=hit, lower=low, upper=high, certainty=certainty)
