"""Events of the restoration of given pictures, whose truth is unknown. Loads no torch."""

from __future__ import annotations

from dipddpm.core.events.base import Count, Event


class NoiseEstimated(Event, tag="noise_estimated", frozen=True):
    """The noise that was found in a given picture, whose index is `image`; `text` says it in a sentence for people.

    `sigma` is the standard deviation of the Gaussian part in 8-bit grey levels, `photons` the mean photon count of a
    white pixel (0: no Poisson part), `hit` the share of impulses. The 90% interval from `lower` to `upper` is that of
    `hit` for impulses, of `photons` for Poisson noise alone, and otherwise of `sigma`.
    `certainty` is the probability that the `kind` is right.
    """

    image: Count
    kind: str
    text: str
    sigma: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    photons: float = 0.0
    hit: float = 0.0
    certainty: float = 1.0


class MethodTried(Event, tag="method_tried", frozen=True):
    """A method has restored parts of the given pictures from a part of the measurements, and predicted the others.

    `held_out` is the root mean square error of that prediction, noise included, in 8-bit grey levels. `predicted_psnr`
    in dB is that of a restoration from all measurements, with a 90% interval from `lower` to `upper`; None if nothing
    can be said. `seconds` is what the trial took, and `chosen` whether the method restores the whole pictures.
    """

    step: Count
    method: str
    held_out: float | None = None
    predicted_psnr: float | None = None
    lower: float | None = None
    upper: float | None = None
    seconds: float = 0.0
    chosen: bool = False


class FitMeasured(Event, tag="fit_measured", frozen=True):
    """The fit of each image, measured without a truth, in 8-bit grey levels (root mean squares).

    `residual` is the misfit to the measurements; once it falls below `noise`, the level of the noise (None: unknown),
    the fit begins to reproduce the noise. `held_out` is the error at held-out measurements; empty if none are held out.
    """

    step: Count
    residual: list[float]
    noise: list[float | None] = []
    held_out: list[float] = []
    loss: list[float] = []


class TileRestored(Event, tag="tile_restored", frozen=True):
    """A tile of the given pictures is restored: number `tile` of `tiles`, from 1; `seconds_left` is an estimate."""

    step: Count
    tile: Count
    tiles: Count
    seconds: float = 0.0
    seconds_left: float | None = None


class QualityPredicted(Event, tag="quality_predicted", frozen=True):
    """The restoration of the given picture with the index `image`, measured and predicted without a truth.

    `residual` and `noise` are root mean squares in 8-bit grey levels: the misfit to the measurements, and the level of
    their noise. `spread` is the root mean square deviation of the restorations that were averaged, or None.
    `predicted_psnr` in dB has a 90% interval from `lower` to `upper`; `held_out` is as in `method_tried`.
    """

    image: Count
    name: str
    method: str
    step: Count
    residual: float
    noise: float | None = None
    spread: float | None = None
    held_out: float | None = None
    predicted_psnr: float | None = None
    lower: float | None = None
    upper: float | None = None
